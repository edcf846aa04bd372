"""Plug-ins by kind and name."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from moltbot_edge.api import Candidate, Meta, RouteQuery, Struct, field
from moltbot_edge.kernel.registry import (
    BUILTINS,
    Plugin,
    PluginClash,
    PluginError,
    Registry,
    UnknownPlugin,
    WrongOptions,
    members,
)
from moltbot_edge.policies.weighted import Weighted


class Chosen(Struct, frozen=True):
    local: tuple[str, ...]
    up_to_tokens: Annotated[int, Meta(ge=1)] = 2_000
    names: list[str] = field(default_factory=list)

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        return candidates


def backwards(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    return candidates[::-1]


class NotCallable(Struct, frozen=True):
    local: tuple[str, ...] = ()


def a_policy(name: str, target: Any = backwards, origin: str = "/plugins/own.py") -> Plugin:
    return Plugin("policy", name, target, origin)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in BUILTINS.items() for name in table])
def test_every_built_in_is_there_and_can_be_built(kind: str, name: str) -> None:
    built = Registry().build(kind, name)
    assert all(hasattr(built, member) for member in members(kind))
    if kind == "dialect":
        assert built.name == name


def test_a_kind_asks_for_what_its_protocol_says() -> None:
    assert members("policy") == ["__call__"]
    assert {"name", "paths", "reader", "error", "error_event", "ping"} <= set(members("dialect"))
    assert members("store") == []


def test_only_what_is_named_is_imported() -> None:
    program = """
import json, sys
from moltbot_edge.kernel.registry import Registry
registry = Registry()
names = registry.names("policy")
before = [name for name in sys.modules if name.startswith(("moltbot_edge.policies", "moltbot_edge.dialects"))]
registry.get("policy", "round-robin")
after = [name for name in sys.modules if name.startswith(("moltbot_edge.policies.", "moltbot_edge.dialects"))]
print(json.dumps([names, before, after, "importlib.metadata" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    names, before, after, metadata = json.loads(done.stdout)
    assert names == sorted(BUILTINS["policy"])
    assert before == []
    assert after == ["moltbot_edge.policies.round_robin"]
    assert not metadata


def test_an_unknown_name_is_told_what_there_is() -> None:
    registry = Registry([a_policy("idle-first")])
    with pytest.raises(UnknownPlugin) as raised:
        registry.get("policy", "wieghted")
    assert str(raised.value) == (
        "no policy named 'wieghted' (did you mean 'weighted'?); there is: "
        + ", ".join(sorted([*BUILTINS["policy"], "idle-first"]))
    )
    with pytest.raises(UnknownPlugin, match="no tool named 'disk'; there is: none"):
        registry.get("tool", "disk")


def test_an_unknown_kind_is_told_what_there_is() -> None:
    with pytest.raises(UnknownPlugin, match=r"'polices' \(did you mean 'policy'\?\); there is: policy, dialect"):
        Registry().names("polices")


def test_a_users_plug_in_takes_the_place_of_a_built_in_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        registry = Registry([a_policy("weighted")])
    assert registry.get("policy", "weighted") is backwards
    assert registry.names("policy") == sorted(BUILTINS["policy"])
    assert caplog.messages == ["the policy 'weighted' of /plugins/own.py replaces the built-in one"]
    assert Registry().get("policy", "weighted") is Weighted


def test_two_plug_ins_of_one_name_are_an_error_that_names_both() -> None:
    with pytest.raises(PluginClash) as raised:
        Registry([a_policy("own", origin="/plugins/a.py"), a_policy("own", origin="/plugins/b.py")])
    assert str(raised.value) == (
        "two plug-ins are the policy 'own': /plugins/a.py and /plugins/b.py; rename or remove one"
    )


def test_one_name_may_be_of_two_kinds() -> None:
    registry = Registry([a_policy("own"), Plugin("tool", "own", NotCallable, "/plugins/own.py")])
    assert registry.get("policy", "own") is backwards
    assert registry.get("tool", "own") is NotCallable


def test_options_are_the_fields_of_the_class() -> None:
    registry = Registry([a_policy("chosen", Chosen)])
    assert registry.build("policy", "chosen", {"local": ["box"]}) == Chosen(("box",))
    assert registry.build("policy", "chosen", {"local": [], "up_to_tokens": 5}) == Chosen((), 5)


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({}, None, ["missing required field `local`", "it takes: local (tuple[str, ...], required)"]),
        ({"local": "box"}, "local", ["option `local`: Expected `array`, got `str`"]),
        ({"local": [1]}, "local[0]", ["option `local[0]`: Expected `str`, got `int`"]),
        ({"local": [], "up_to_tokens": "5"}, "up_to_tokens", ["Expected `int`, got `str`", "2000 if not given"]),
        ({"local": [], "up_to_tokens": 0}, "up_to_tokens", ["`int` >= 1"]),
        ({"local": [], "upto_tokens": 5}, "upto_tokens", ["no option 'upto_tokens' (did you mean 'up_to_tokens'?)"]),
        ({"local": [], "x": 5}, "x", ["no option 'x'; there is: local, up_to_tokens, names"]),
        ({7: [], "local": []}, "7", ["no option '7'"]),
    ],
)
def test_a_wrong_option_is_named_with_what_there_is(
    options: dict[Any, Any], option: str | None, words: list[str]
) -> None:
    with pytest.raises(WrongOptions) as raised:
        Registry([a_policy("chosen", Chosen)]).build("policy", "chosen", options)
    assert raised.value.option == option
    assert str(raised.value).startswith("the policy 'chosen' (/plugins/own.py)")
    for word in words:
        assert word in str(raised.value)


def test_a_function_takes_no_options() -> None:
    registry = Registry([a_policy("backwards")])
    assert registry.build("policy", "backwards") is backwards
    with pytest.raises(WrongOptions, match="takes no options; found: local, seed") as raised:
        registry.build("policy", "backwards", {"local": [], "seed": 1})
    assert raised.value.option == "local"


def test_a_class_without_fields_takes_no_options() -> None:
    class Plain:
        def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
            return candidates

    registry = Registry([a_policy("plain", Plain)])
    assert isinstance(registry.build("policy", "plain"), Plain)
    with pytest.raises(WrongOptions):
        registry.build("policy", "plain", {"seed": 1})


def test_an_object_that_is_not_what_its_kind_has_to_be_is_found_when_it_is_built() -> None:
    with pytest.raises(PluginError, match=r"the policy 'own' \(/plugins/own.py\) is no policy: it has no __call__"):
        Registry([a_policy("own", NotCallable)]).build("policy", "own")
    with pytest.raises(PluginError, match="is no dialect: it has no name, paths, "):
        Registry([Plugin("dialect", "own", NotCallable, "x")]).build("dialect", "own")
