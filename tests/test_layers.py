"""Who may import whom, which parts are pure, and where state may live."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from architecture import CHECKS, RANK, Check, Module, banned, impurities, state, unsaid, wrong_layers

import moltbot_edge

ROOT = Path(moltbot_edge.__file__).parent


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_source_is_as_it_is_drawn(check: Check) -> None:
    problems = [
        f"{path.relative_to(ROOT.parent)}:{problem}"
        for name, path in modules().items()
        for problem in check(Module(name, path.read_text()))
    ]
    assert not problems, "\n" + "\n".join(problems)


def test_a_package_opens_with_its_map_and_holds_no_code() -> None:
    for path in ROOT.rglob("__init__.py"):
        if path.parent != ROOT:
            statements = ast.parse(path.read_text()).body
            assert len(statements) == 1, f"{path.relative_to(ROOT.parent)}: its map as a docstring, and no code"


def test_every_part_in_the_tree_has_a_layer() -> None:
    assert {name.partition(".")[0] for name in modules()} - {""} <= set(RANK)


@pytest.mark.parametrize(
    ("check", "name", "source", "said"),
    [
        (
            wrong_layers,
            "core.chat",
            "from moltbot_edge.config.schema import Config",
            "1: imports config, which is to its",
        ),
        (wrong_layers, "core.chat", "from moltbot_edge import config", "imports config, which is to its right"),
        (wrong_layers, "core.chat", "import moltbot_edge.server.app", "imports server, which is to its right"),
        (wrong_layers, "core.chat", "from ..gateway import relay", "imports gateway, which is to its right"),
        (wrong_layers, "core.chat", "def f():\n    from moltbot_edge import api", "2: imports api"),
        (wrong_layers, "local.kv", "from moltbot_edge.upstream import wire", "imports its neighbour upstream"),
        (wrong_layers, "kernel.registry", "from moltbot_edge.metrics import process", "imports its neighbour metrics"),
        (wrong_layers, "core.chat", "from moltbot_edge import utils", "has no place among the layers"),
        (wrong_layers, "utils.text", "", "utils has no place among the layers"),
        (wrong_layers, "core.x", "if TYPE_CHECKING:\n    from moltbot_edge.server import app", "imports server"),
        (impurities, "core.chat", "import time", "1: a pure part imports time"),
        (impurities, "core.chat", "from os import path", "a pure part imports os.path"),
        (impurities, "dialects.ollama", "import urllib.request", "a pure part imports urllib.request"),
        (impurities, "policies.sticky", "import random as r", "a pure part imports random"),
        (impurities, "local.placement", "from datetime import datetime", "a pure part imports datetime.datetime"),
        (impurities, "local.lifecycle", "from moltbot_edge.local.process import spawn", "imports only pure parts"),
        (impurities, "policies.own", "from moltbot_edge.kernel import registry", "imports only pure parts"),
        (impurities, "core.chat", "def f(path):\n    return open(path)", "2: a pure part calls open()"),
        (impurities, "policies.own", "def f(name):\n    print(name)", "2: a pure part calls print()"),
        (banned, "stores.disk", "import pickle", "1: uses pickle; store bytes"),
        (banned, "stores.disk", "from pickle import loads", "uses pickle"),
        (banned, "tools.mcp", "import httpx", "uses httpx; go through http_client.py"),
        (banned, "server.app", "from starlette.middleware.base import BaseHTTPMiddleware", "write pure ASGI"),
        (
            banned,
            "server.app",
            "from starlette.middleware import base\nclass M(base.BaseHTTPMiddleware): ...",
            "2: uses",
        ),
        (banned, "local.process", "import time as t\ndef f():\n    t.sleep(1)", "3: uses time.sleep"),
        (banned, "local.process", "from time import sleep", "uses time.sleep"),
        (banned, "local.process", "import os\nHOME = os.environ['HOME']", "2: uses os.environ"),
        (banned, "local.process", "from os import getenv as g", "uses os.getenv"),
        (banned, "core.chat", "import functools\n@functools.cache\ndef f(): ...", "2: uses functools.cache"),
        (state, "server.app", "seen = {}", "1: seen is empty and so waits to be filled"),
        (state, "server.app", "SEEN: dict[str, int] = {}", "SEEN is empty"),
        (state, "server.app", "SEEN = set()", "SEEN is empty"),
        (state, "server.app", "if True:\n    names = ['a']", "2: names is changeable; data is UPPER_CASE"),
        (state, "server.app", "from asyncio import Lock\nLOCK = Lock()", "2: LOCK is made by asyncio.Lock"),
        (state, "server.app", "import collections as c\nQ = c.deque()", "Q is made by collections.deque"),
        (state, "server.app", "app = App()", "app is made by App, which may change"),
        (state, "server.app", "send = Client().send", "send is made by Client"),
        (state, "server.app", "def f():\n    global client\n    client = 1", "2: `global client`"),
        (state, "server.app", "T = {'a': 1}\ndef f():\n    T['b'] = 2", "3: changes T, which is data"),
        (state, "server.app", "T = ['a']\ndef f():\n    T.append('b')", "3: changes T"),
        (state, "server.app", "T = {'a': 1}\ndef f():\n    T['a'] += 1", "3: changes T"),
        (state, "server.app", "T = {'a': 1}\ndef f():\n    del T['a']", "3: changes T"),
        (unsaid, "server.app", "import os", "begins without saying what it is"),
    ],
)
def test_the_checks_find_what_they_are_for(check: Check, name: str, source: str, said: str) -> None:
    assert said in "\n".join(check(Module(name, source)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("server.app", '"""It."""\nfrom moltbot_edge import __version__\nfrom moltbot_edge.core import sse'),
        ("__main__", '"""It."""\nimport os\nfrom moltbot_edge.cli.main import cli\nHOME = os.environ["HOME"]'),
        ("http_client", '"""It."""\nimport httpx'),
        ("core.head", '"""It."""\nimport msgspec\n_decode = msgspec.json.Decoder(int).decode\nNAMES = {"a": "b"}'),
        ("core.tool", '"""It."""\nfrom urllib.parse import quote\nfrom typing import TypeVar\nT = TypeVar("T")'),
        ("local.gguf", '"""It."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib import Path'),
        (
            "config.load",
            '"""It."""\nimport os\nfrom typing import Final\nPlace: Final = ("a",)\nNAME = os.environ.get("N")',
        ),
        ("server.auth", '"""It."""\nimport logging\nlog = logging.getLogger(__name__)\n__all__ = ["log"]'),
        ("gateway.relay", '"""It."""\nNOT = frozenset({"a"})\nBoth = dict[str, int] | None\ndef f(x):\n    x["a"] = 1'),
    ],
)
def test_the_checks_leave_alone_what_is_right(name: str, source: str) -> None:
    module = Module(name, source)
    assert [problem for check in CHECKS for problem in check(module)] == []
