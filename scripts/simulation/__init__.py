"""Policies beside each other on fleets that are simulated, with the gateway's own scoreboard; no clock and no sockets.
But for ``engine``, which is the real thing.

machine    one that answers requests one after another, as an engine on a small board does
fleets     the four fleets, and what is asked of them
course     one run: requests come, are routed, are answered, and taught by
engine     the predictions beside a real llama-server
__main__   all runs with the recorded seeds, as one table
"""
