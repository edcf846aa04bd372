"""What keeps sessions, each by one protocol, `core.store.Store`. Imported when the configuration names it.

disk        in a folder, by diskcache: `table` is its rows, `worker` the thread that writes them in groups,
            `recent` what is in memory, `salvage` what is done with a damaged one, `sqlite_errors` what went wrong
redis       at a server, for several gateways
memory      until the end of the process
envelope    what surrounds a record where it is kept: its checksum, and less room
weight      what a session takes in memory, by which it is bounded
turnstile   one at a time, in the order in which they came
"""
