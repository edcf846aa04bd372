"""How hard a question looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.difficulty import difficulty
from moltbot_edge.core.prompt import READ_CHARS, Prompt


def asks(text: str, chars: int | None = None) -> Prompt:
    return Prompt(text[:READ_CHARS], chars=len(text) if chars is None else chars, turns=1, messages=1)


HARD = """Design a rate limiter in Python for several hosts. It must not lose counts when a host restarts, must stay
exact within 1 percent, and should work without a lock. Compare 3 algorithms, explain the trade-offs step by step,
prove that your choice is correct for n = 2, and implement it:
1. the interface
2. the algorithm
3. tests, at least 12, with 1000 requests in 60 seconds, 5 hosts, and 2 of them failing
```python
class Limiter:
```
Why would a token bucket not do? What changes with 10 hosts?"""


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("hi", 0, 0),
        ("What is the capital of France?", 0, 0.05),
        ("Translate 'good morning' into Italian.", 0, 0.1),
        ("Explain step by step why the sky is blue.", 0.3, 0.7),
        ("Write a Python function that reads JSON, and explain why it is correct.", 0.3, 0.7),
        (HARD, 0.7, 1),
    ],
)
def test_the_score_rises_from_small_talk_to_design(text: str, low: float, high: float) -> None:
    assert low <= difficulty(asks(text)).score <= high


@pytest.mark.parametrize(
    ("text", "cohort"),
    [
        ("", "chat short"),
        ("good morning", "chat short"),
        ("Who wrote Faust?", "ask short"),
        ("Summarise this: the meeting was long.", "rewrite short"),
        ("Fix this Python function, and explain it.", "explain short code"),
        ("How many apples are left?", "ask short maths"),
        ("2 4 6 8 10 12 and then?", "ask short figures"),
        ("Which?\nA. one\nB. two\nC. three", "ask short choice"),
        ("Как приготовить борщ?", "ask short international"),
        ("word " * 60, "chat medium"),
        ("word " * 300, "chat long"),
        ("word " * 500, "chat very-long"),
    ],
)
def test_what_looks_alike_is_of_one_cohort(text: str, cohort: str) -> None:
    assert difficulty(asks(text)).cohort == cohort


def test_a_name_with_an_accent_is_not_another_language() -> None:
    assert "international" not in difficulty(asks("Where did José go to school in Málaga?")).cohort


def test_a_long_question_is_long_although_only_its_beginning_is_read() -> None:
    assert difficulty(asks("word " * 10, chars=100_000)).cohort == "chat very-long"


@given(st.text(max_size=READ_CHARS), st.integers(0, 10_000_000))
def test_whatever_is_asked_the_score_is_a_share_and_the_same_again(text: str, chars: int) -> None:
    found = difficulty(asks(text, chars))
    assert 0 <= found.score <= 1
    assert found == difficulty(asks(text, chars))
    assert 2 <= len(found.cohort.split()) <= 7


@given(st.text(max_size=500), st.sampled_from(["```", "Prove it.", "at least 5", "2 + 2 = 4", "x " * 200]))
def test_what_is_added_never_makes_it_look_easier(text: str, more: str) -> None:
    assert difficulty(asks(f"{text}\n{more}")).score >= difficulty(asks(text)).score - 1e-9
