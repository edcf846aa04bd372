"""What shows how good a reply was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import verdict
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.verdict import SKETCH_WORDS, Impression, Verdict, of_next, of_reply, trace

SECRET = b"a secret"
QUESTION = "how do I bake bread with rye flour"


def traced(text: str = QUESTION, before: str = "", turns: int = 1, messages: int = 1) -> verdict.Trace:
    return trace(Prompt(text, before, len(text), turns, messages), SECRET)


@pytest.mark.parametrize(
    ("impression", "limited", "shown"),
    [
        (Impression(), False, None),
        (Impression(empty=True), False, verdict.EMPTY),
        (Impression(broken_call=True), False, verdict.BROKEN_CALL),
        (Impression(cut_off=True), False, verdict.CUT_OFF),
        (Impression(cut_off=True), True, None),
        (Impression(cut_off=True, empty=True), True, None),
    ],
)
def test_a_replys_form_tells_when_it_went_wrong(impression: Impression, limited: bool, shown: Verdict | None) -> None:
    assert of_reply(impression, limited) == shown


OTHER_ALIAS: dict[str, Any] = {"same_alias": False, "same_model": False}


@pytest.mark.parametrize(
    ("later", "how", "shown"),
    [
        (traced("and with wheat?", before=QUESTION, turns=2, messages=3), {}, verdict.GOES_ON),
        (traced("and with wheat?", before=QUESTION, turns=2, messages=3), {"after_s": 9e9}, verdict.GOES_ON),
        (traced("and with wheat?", before=QUESTION, turns=2, messages=3), OTHER_ALIAS, verdict.GOES_ON),
        (traced(messages=3), {}, verdict.GOES_ON),  # the results of its tool calls
        (traced(), {}, verdict.ASKED_AGAIN),
        (traced(), {"after_s": 0.1}, None),  # a program
        (traced(), {"after_s": 61.0}, None),
        (traced(), OTHER_ALIAS, verdict.ASKED_ELSEWHERE),
        (traced(), {"same_alias": False}, None),  # the same model under another name
        (traced("how do I bake bread with wheat flour"), {}, verdict.REPHRASED),
        (traced("how do I bake bread with wheat flour"), OTHER_ALIAS, None),
        (traced("what is the weather like"), {}, None),
        (traced(QUESTION, before="hello", turns=2), {}, None),  # in another conversation
    ],
)
def test_the_next_question_says_something_of_the_last_reply(
    later: verdict.Trace, how: dict[str, Any], shown: Verdict | None
) -> None:
    defaults = {"after_s": 10.0, "same_alias": True, "same_model": True}
    assert of_next(traced(), later, **defaults | how) == shown


def test_a_question_edited_in_its_place_is_a_rephrased_one() -> None:
    earlier = traced(QUESTION, before="hello", turns=2, messages=3)
    later = traced(QUESTION + " and oats", before="hello", turns=2, messages=3)
    assert of_next(earlier, later, after_s=10, same_alias=True, same_model=True) == verdict.REPHRASED


def test_two_questions_after_the_same_examples_are_two_questions() -> None:
    earlier = traced("Berlin", before="an example", turns=3, messages=5)
    later = traced("seventeen apples", before="an example", turns=3, messages=5)
    assert of_next(earlier, later, after_s=10, same_alias=True, same_model=True) is None


def test_what_is_kept_depends_on_a_secret_and_is_not_the_text() -> None:
    kept = repr(traced())
    assert not any(word in kept for word in QUESTION.split() if len(word) > 3)
    assert traced().text != trace(Prompt(QUESTION), b"another").text


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_what_is_kept_is_small_whatever_was_asked(text: str, before: str) -> None:
    kept = traced(text, before)
    assert len(kept.text) + len(kept.before) <= 32
    assert len(kept.words) <= SKETCH_WORDS
    assert traced(text, before) == kept
