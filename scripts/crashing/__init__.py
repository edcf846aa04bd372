"""A gateway that is killed at random moments while sessions go on, a thousand times: nothing may be lost or doubled.

course      the trial: callers, kills, and what is read of the store after them
callers     who asks, in four dialects, in whole replies and streams, and what each saw to its end
upstream    a model whose reply follows from the question, and which is shown each conversation
ledger      what was asked and seen, and what is wrong with what was kept
gateway     the process that is killed
shapes      a dialect's request, its reply, and what a caller takes for its end
power.c     loaded into the gateway: a disk that keeps what was synchronised, and forgets the rest

SIGKILL ends a process and not the kernel, which still writes what it was handed: it shows that no turn is torn, and
nothing of a box that loses its power. For that `--power` goes on, after each kill, with what the gateway had made
durable by fsync and fdatasync until then, and nothing else.
"""
