"""Recursion without end is an error that a program can catch, in every thread: the stacks are deep enough."""

from __future__ import annotations

import json

from binary.place import Place

# Loaded as a plug-in file, which is how one's own Python runs in the executable.
TRIES = """
import copy, json, re, sys, threading
import msgspec


def down(depth):
    return down(depth + 1)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


TRIES = {
    "a function": lambda: down(0),
    "json.loads": lambda: json.loads("[" * 200_000),
    "json.dumps": lambda: json.dumps(nested(200_000)),
    "msgspec": lambda: msgspec.json.decode(b"[" * 200_000),
    "repr": lambda: repr(nested(200_000)),
    "comparing": lambda: nested(200_000) == nested(200_000),
    "copying": lambda: copy.deepcopy(nested(200_000)),
    "a pattern": lambda: re.compile("(" * 20_000 + ")" * 20_000),
    "compiling": lambda: compile("-" * 100_000 + "1", "", "eval"),
}


def tried():
    found = {}
    for name, act in TRIES.items():
        try:
            act()
        except (RecursionError, MemoryError):
            continue
        found[name] = "came to an end"
    return found


unexpected = {"main": tried()}
thread = threading.Thread(target=lambda: unexpected.update(thread=tried()))
thread.start()
thread.join()
print(json.dumps(unexpected), file=sys.stderr)
"""


def test_it_is_caught_in_the_main_thread_and_in_another(place: Place) -> None:
    place.put("/plugins/deep.py", TRIES)
    file = place.put("/moltbot.yaml", json.dumps({"plugins": {"folder": place.inside("/plugins")}}))
    done = place.run("plugins", "--config", file)
    assert json.loads(done.errors) == {"main": {}, "thread": {}}
