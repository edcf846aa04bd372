"""By how hard the question looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.api import Candidate, Choice, Deployment, Prompt, RouteQuery, Standing, Upstream
from moltbot_edge.core.experience import ALL, Tally
from moltbot_edge.kernel.registry import Registry, WrongOptions
from moltbot_edge.policies.complexity import Complexity

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")
EASY = "hello"
MIDDLING = "Explain step by step why the sky is blue."
HARD = (
    "Design and prove a lock-free algorithm in Python. It must not lose more than 2 of 1000 items, should work without"
    " a heap, and must compare with 3, 4, 5 and 6 others: why is it faster? Is it? n = 12, 13, 14, 15, 16, 17."
)
NAMES = ("weak", "middle", "strong")
COHORT = "chat short"  # EASY's


def deployment(name: str, **fields: Any) -> Deployment:
    return Deployment(name, BOX, name, registry_name=name.partition("@")[0], **fields)


def candidates(*names: str, **fields: Any) -> list[Candidate]:
    return [Candidate(deployment(name, **fields), Standing()) for name in names]


def query(text: str = EASY, *, chance: float = 0.5, models: Sequence[str] = NAMES, **fields: Any) -> RouteQuery:
    prompt = Prompt(text, chars=len(text), turns=1, messages=1)
    return RouteQuery(
        "auto", chance=chance, prompt=lambda: prompt, deployments=[deployment(name) for name in models], **fields
    )


def order(choice: Choice) -> str:
    return " ".join(one.deployment.name for one in choice.order)


RULE = Complexity()


# The rule.


@pytest.mark.parametrize(
    ("text", "expected"),
    [(EASY, "weak middle strong"), (MIDDLING, "middle strong weak"), (HARD, "strong middle weak")],
)
def test_an_easy_question_goes_to_the_weak_and_a_hard_one_to_the_strong(text: str, expected: str) -> None:
    choice = RULE(candidates(*NAMES), query(text))
    assert order(choice) == expected
    assert choice.reason.startswith("score 0.")
    assert choice.cohort is None, "who only goes by the rule asks for no outcomes"


@pytest.mark.parametrize(
    ("above", "expected"), [((0.9, 0.95), "weak"), ((0.0, 0.95), "middle"), ((0.1, 0.2), "strong")]
)
def test_the_thresholds_are_the_users(above: tuple[float, ...], expected: str) -> None:
    assert order(Complexity(above=above)(candidates(*NAMES), query(MIDDLING))).split()[0] == expected


def test_the_targets_are_the_users_whatever_their_order_in_the_alias() -> None:
    policy = Complexity(targets=("strong", "weak"), above=(0.5,))
    assert order(policy(candidates(*NAMES), query(EASY))) == "strong weak middle"
    assert order(policy(candidates(*NAMES), query(HARD))) == "weak strong middle"


@pytest.mark.parametrize(("count", "expected"), [(1, "0"), (2, "1"), (3, "2"), (4, "3"), (6, "5")])
def test_any_number_of_models_has_thresholds(count: int, expected: str) -> None:
    models = [str(place) for place in range(count)]
    assert order(RULE(candidates(*models), query(EASY, models=models))).split()[0] == "0"
    assert order(RULE(candidates(*models), query(HARD, models=models))).split()[0] == expected


def test_who_cools_down_is_stood_in_for_by_the_next_stronger_one() -> None:
    assert order(RULE(candidates("weak", "strong"), query(MIDDLING))) == "strong weak"
    assert order(RULE(candidates("middle", "strong"), query(EASY))) == "middle strong"
    assert order(RULE(candidates("weak", "middle"), query(HARD))) == "middle weak"


def test_several_machines_of_one_model_are_one_target_and_the_idle_one_is_first() -> None:
    models = ["weak@a", "weak@b", "strong@c"]
    found = candidates(*models)
    found[0] = Candidate(found[0].deployment, Standing(in_flight=2))
    assert order(RULE(found, query(EASY, models=models))) == "weak@b weak@a strong@c"
    assert order(RULE(found, query(HARD, models=models))) == "strong@c weak@b weak@a"
    assert order(Complexity(targets=("strong@c", "weak@a"))(found, query(EASY))) == "strong@c weak@a weak@b"


def test_a_machine_that_two_targets_mean_is_asked_once() -> None:
    models = ["chat@a", "chat@b", "big@c"]
    policy = Complexity(targets=("chat@b", "chat", "big"))
    assert order(policy(candidates(*models), query(EASY, models=models))) == "chat@b chat@a big@c"


def test_more_models_than_there_are_draws_are_no_fault() -> None:
    models = [str(place) for place in range(40)]
    sure = Complexity(learn=True, explore=0.0)
    asked = query(EASY, models=models, tallies=lambda model, cohort: Tally(good=1e6))
    assert order(sure(candidates(*models), asked)).startswith("0 1 2 ")


def test_without_a_routes_deployments_the_candidates_are_the_targets() -> None:
    choice = RULE(candidates(*NAMES), RouteQuery("auto", prompt=lambda: Prompt(MIDDLING, chars=len(MIDDLING))))
    assert order(choice) == "middle strong weak"


def test_what_cannot_be_read_goes_to_the_default() -> None:
    assert order(RULE(candidates(*NAMES), query(""))) == "strong middle weak"
    assert order(Complexity(targets=NAMES, default="middle")(candidates(*NAMES), query(""))) == "middle strong weak"


def test_tools_and_images_go_only_where_they_are_taken() -> None:
    found = [*candidates("weak", tools=False), *candidates("middle", images=False), *candidates("strong")]

    def asked(tools: bool = False, images: bool = False) -> str:
        prompt = Prompt(EASY, chars=5, turns=1, messages=1, tools=tools, images=images)
        return order(RULE(found, msgspec.structs.replace(query(), prompt=lambda: prompt)))

    assert asked(tools=True) == "middle strong"
    assert asked(images=True) == "weak strong"
    assert asked(tools=True, images=True) == "strong"
    blind = candidates("weak", "middle", images=False)
    prompt = Prompt(EASY, images=True)
    assert order(RULE(blind, RouteQuery("auto", prompt=lambda: prompt, deployments=[deployment("weak")]))).startswith(
        "weak"
    ), "where nobody takes them, the upstream says so"


# The learned form.


def learned(**options: Any) -> Complexity:
    return Complexity(targets=("weak", "strong"), learn=True, **{"explore": 0.0, **options})


def decide(policy: Complexity, known: dict[str, tuple[float, float]], *, chance: float = 0.5) -> Choice:
    """*known* is the rate and number of each model's answers to questions such as `EASY`, and to all others."""

    def tallies(model: str, cohort: str) -> Tally:
        assert cohort in (COHORT, ALL)
        rate, seen = known.get(model, (0.0, 0.0))
        return Tally(rate * seen, (1 - rate) * seen)

    return policy(candidates("weak", "strong"), query(EASY, chance=chance, tallies=tallies))


def first(policy: Complexity, known: dict[str, tuple[float, float]]) -> str:
    """The one chosen at most chances."""
    chosen = Counter(order(decide(policy, known, chance=i / 101)).split()[0] for i in range(101))
    return chosen.most_common(1)[0][0]


SURE = 100_000.0


@pytest.mark.parametrize(
    ("weak", "strong", "default", "expected"),
    [
        (0.90, 0.90, "strong", "weak"),  # as good: the strong one is not needed
        (0.80, 0.95, "strong", "strong"),  # good enough, but worse than the default: nobody asked for that
        (0.80, 0.95, "weak", "weak"),  # good enough, and the default
        (0.60, 0.95, "weak", "strong"),  # not good enough, and there is better
        (0.40, 0.41, "weak", "weak"),  # neither is good, and the strong one hardly better
        (0.30, 0.03, "strong", "weak"),  # it happens
        (0.60, 0.70, "weak", "strong"),  # neither is good enough: the better one
    ],
)
def test_to_the_weakest_that_does_as_well_and_beyond_where_the_default_is_not_good_enough(
    weak: float, strong: float, default: str, expected: str
) -> None:
    assert first(learned(default=default), {"weak": (weak, SURE), "strong": (strong, SURE)}) == expected


def test_of_what_it_does_not_know_it_takes_the_default_and_says_so() -> None:
    choice = decide(learned(), {})
    assert order(choice) == "strong weak"
    assert choice.reason == "too little is known of 'chat short'"
    assert choice.cohort == COHORT
    assert order(decide(learned(default="weak"), {})) == "weak strong"
    assert order(decide(learned(), {"weak": (1.0, SURE)})) == "strong weak", "the default itself has to be known"
    assert order(decide(learned(), {"weak": (1.0, 9), "strong": (0.1, SURE)})) == "strong weak"
    assert order(decide(learned(known=9), {"weak": (1.0, 9), "strong": (0.1, SURE)})) == "weak strong"


def test_a_share_of_what_it_does_not_know_is_tried() -> None:
    tried = Counter(order(decide(learned(explore=0.2), {}, chance=i / 5000)).split()[0] for i in range(5000))
    assert tried["weak"] / 5000 == pytest.approx(0.2 / 2, abs=0.02)  # the strong one is unknown as well
    known = {"weak": (0.5, SURE), "strong": (0.9, SURE)}
    assert "trying" not in "".join(decide(learned(explore=1.0), known, chance=i / 50).reason for i in range(50))


def test_the_less_is_known_the_more_often_it_is_tried() -> None:
    def share(seen: float) -> float:
        known = {"weak": (0.75, seen), "strong": (0.85, seen)}
        chosen = Counter(order(decide(learned(), known, chance=i / 2000)).split()[0] for i in range(2000))
        return chosen["weak"] / 2000

    assert share(20) > share(100) > share(1000)
    assert share(SURE) == 0


def test_its_reason_says_what_it_believed() -> None:
    choice = decide(learned(), {"weak": (0.5, SURE), "strong": (0.9, SURE)})
    assert choice.reason.startswith("'chat short': weak 0.50, strong 0.90")


RATES = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.floats(0, 1), st.floats(0, 1000)))


@given(
    st.permutations(NAMES).flatmap(lambda names: st.integers(0, 3).map(lambda count: names[:count])),
    st.sampled_from(["", EASY, MIDDLING, HARD]),
    st.floats(0, 1, exclude_max=True),
    RATES,
    st.booleans(),
)
def test_the_order_is_total_and_the_same_chance_brings_the_same(
    there: list[str], text: str, chance: float, known: dict[str, tuple[float, float]], learn: bool
) -> None:
    def tallies(model: str, cohort: str) -> Tally:
        rate, seen = known.get(model, (0.0, 0.0))
        return Tally(rate * seen, (1 - rate) * seen)

    policy = Complexity(learn=learn)
    given_ones = candidates(*there)
    asked = query(text, chance=chance, tallies=tallies)
    choice = policy(given_ones, asked)
    assert sorted(one.deployment.name for one in choice.order) == sorted(there)
    assert order(policy(given_ones, asked)) == order(choice)
    assert choice.reason.isascii()
    assert choice.reason.isprintable()


# Its options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"above": [0.7, 0.3]}, "`above` has to rise, found [0.7, 0.3]"),
        ({"above": [2]}, "option `above[0]`"),
        ({"targets": ["a", "b"], "above": [0.1, 0.2]}, "1 for 2, found 2"),
        ({"targets": ["a", "b"], "default": "c"}, "`default` has to be one of `targets`, found 'c'"),
        ({"threshold": 0.5}, "takes no option 'threshold'"),
        ({"known": 0}, "option `known`"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongOptions) as refused:
        Registry().build("policy", "complexity", options)
    assert said in str(refused.value)


def test_options_that_name_no_model_of_the_alias_are_told() -> None:
    assert Complexity(targets=("weak", "strong")).objection(NAMES) is None
    assert Complexity(targets=("weak", "big")).objection(NAMES) == (
        "targets[1]",
        "'big' is no model of this alias; there are: weak, middle, strong",
    )
    assert (Complexity(default="big").objection(NAMES) or ("", ""))[0] == "default"
    assert Complexity(above=(0.5,)).objection(NAMES) == (
        "above",
        "takes a threshold between each two models: 2, found 1",
    )
