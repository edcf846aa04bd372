"""A user's Python files: loaded, named by the configuration, asked; and what of Python's library they may import."""

from __future__ import annotations

import json

import pytest
from binary.place import Place
from binary.served import Served
from raw_caller import QUESTION
from scripted_upstream import says

TRIAL = """
from moltbot_edge.api import policy


@policy("trial")
def trial(candidates, query):
    return candidates


missing = []
for name in {names!r}:
    try:
        __import__(name)
    except Exception as error:
        missing.append(f"{{name}} ({{error}})")
if missing:
    raise ImportError(", ".join(missing))
"""
MISTAKEN = "from moltbot_edge.api import policy\n\n\nx = 1 / 0\n"


def config(place: Place) -> str:
    return place.put("/moltbot.yaml", json.dumps({"plugins": {"folder": place.inside("/plugins")}}))


@pytest.mark.anyio
async def test_the_policy_of_the_documentation_decides(served: Served) -> None:
    """Of two machines the one that is named as local is asked, though it stands last."""
    served.near.play(says("from near"))
    served.far.play(says("from far"))
    before = len(served.far.asked)
    for _ in range(4):
        answer = await served.gateway.ask({**QUESTION, "model": "nearest"})
        assert answer.status == 200, answer.body
        assert b"from near" in answer.body
    assert len(served.far.asked) == before


def test_it_lists_what_it_found(place: Place, documented_plugin: str) -> None:
    path = place.put("/plugins/local_first.py", documented_plugin)
    done = place.run("plugins", "--config", config(place), "--json")
    assert (done.status, done.errors) == (0, "")
    (found,) = json.loads(done.output)["plugins"]
    assert (found["kind"], found["name"], found["origin"]) == ("policy", "local-first", path)


def test_a_mistake_in_a_file_is_told_with_its_line(place: Place) -> None:
    path = place.put("/plugins/mistaken.py", MISTAKEN)
    done = place.run("plugins", "--config", config(place))
    assert done.status == 1
    assert f"{path}:4: ZeroDivisionError" in done.output


@pytest.mark.only("built")
def test_every_module_that_is_promised_can_be_imported(place: Place) -> None:
    done = place.run("plugins", "--modules")
    assert (done.status, done.errors) == (0, "")
    names = done.output.split()
    assert {"json", "sqlite3", "ssl", "urllib.request", "asyncio", "datetime"} <= set(names)
    place.put("/plugins/trial.py", TRIAL.format(names=names))
    tried = place.run("plugins", "--config", config(place), "--json")
    assert json.loads(tried.output)["problems"] == []


@pytest.mark.only("built")
def test_a_module_that_is_not_there_is_told_by_name(place: Place) -> None:
    path = place.put("/plugins/lacking.py", "import ctypes_of_nobody\n")
    done = place.run("plugins", "--config", config(place))
    assert done.status == 1
    assert f"{path}:1: ModuleNotFoundError: No module named 'ctypes_of_nobody'" in done.output
