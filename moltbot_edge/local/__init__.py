"""Models of this board: GGUF files, each served by a supervised ``llama-server`` child.

store       the GGUF files there are, by name
gguf        what a file says of its model
board       what machine this is
profile     the flags that a small board wants, of those that this build knows
lifecycle   the states of an engine, as a table
placement   which engines run, under one memory budget
footprint   how much one will take; memory, what there is and what a process takes
process     one child: its life tied to ours, its last words kept; orphans, what was left behind
health      is it ready, what does it do
keeping     the seam to whoever keeps what engines' caches hold
slots       which slot a conversation goes to; kv, which caches are worth a file; kv_folder has the files
kv_keeper   gives slots, saves and loads them, and believes only what a reply proves
supervisor  all engines, as the gateway sees them: a lease on one
owner       the one task that decides, of `record`s and by `news`; `attendants` carry it out
line        who waits before an engine; weighing, what engines are seen to take
"""
