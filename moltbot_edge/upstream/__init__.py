"""Other machines, and engines on this board, as the gateway sees them.

wire       HTTP/1.1 on the event loop: the hot path, and the only client on it
pool       the connections to one address
chat       a deployment's request on the wire: address, credentials, path
health     is it there: what a probe asks
ticker     one slow clock for every time limit of the hot path
kinds      what an upstream is, from its answers to a few questions
discovery  asks them
"""
