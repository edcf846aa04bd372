"""moltbot-edge: one address on the LAN for every language model in reach.

core      values and decisions: no I/O, no clock, no randomness
kernel    the table of plug-ins by kind and name
config    YAML -> frozen, typed settings; every problem with its path and line
gateway   one exchange: candidates in order, relayed or translated
server    ASGI: callers in, dialects on the wire
assemble  settings -> the running gateway; the only place where parts are joined
"""

__version__ = "0.1.0"
