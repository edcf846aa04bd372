"""What a decorator leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from moltbot_edge.api import Candidate, RouteQuery, Struct, policy
from moltbot_edge.kernel.marks import Mark, mark, mark_of


def as_they_come(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    return candidates


class Keep(Struct, frozen=True):
    first: int = 0

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        return candidates[self.first :]


def test_a_function_and_a_class_stay_themselves() -> None:
    def own(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        return candidates

    assert policy("own")(own) is own
    assert mark_of(own) == Mark("policy", "own")
    assert policy("keep")(Keep) is Keep
    assert mark_of(Keep) == Mark("policy", "keep")
    assert Keep(2).first == 2


def test_what_is_not_marked_has_no_mark() -> None:
    assert mark_of(as_they_come) is None
    assert mark_of(Sequence) is None
    assert mark_of(7) is None


def test_a_mark_is_not_inherited() -> None:
    @mark("store", "base")
    class Base: ...

    class Derived(Base): ...

    assert mark_of(Base) == Mark("store", "base")
    assert mark_of(Derived) is None


def test_an_instance_cannot_be_marked() -> None:
    with pytest.raises(TypeError, match="goes on a function or a class"):
        mark("policy", "kept")(Keep())


def test_one_object_is_one_plug_in() -> None:
    with pytest.raises(TypeError, match="is the policy 'once' already"):

        @mark("policy", "twice")
        @mark("policy", "once")
        def own() -> None: ...


@pytest.mark.parametrize("name", ["", "Local", "local first", "-local", "local-", "../local", "lokal\n"])
def test_a_name_is_one_that_a_config_can_hold(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        mark("policy", name)
