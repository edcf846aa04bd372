"""What the policy `complexity` is worth on graded questions: the tables of docs/complexity.md.

    scripts/evaluate LABELS

LABELS is a file of JSON lines, may be gzipped: ``subject``, ``prompt``, and whether a ``weak`` and a ``strong`` model
answered rightly. The policy itself is asked, question by question; nothing here knows better than it does.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from moltbot_edge.api import Candidate, Deployment, Prompt, RouteQuery, Standing, Upstream
from moltbot_edge.core.difficulty import difficulty
from moltbot_edge.core.experience import ALL, Tally, expected
from moltbot_edge.core.prompt import READ_CHARS
from moltbot_edge.policies.complexity import Complexity

FOLDS = 5
SEEDS = range(3)
BOX = Upstream("box", "http", "localhost", 80, "/v1")
MODELS = ("weak", "strong")
CANDIDATES = [Candidate(Deployment(name, BOX, name), Standing()) for name in MODELS]
DEPLOYMENTS = [one.deployment for one in CANDIDATES]


class Question(NamedTuple):
    subject: str
    prompt: Prompt
    cohort: str
    score: float
    right: dict[str, bool]

    @property
    def fold(self) -> int:
        """Of its subject, the same at every run."""
        return hashlib.sha256(self.subject.encode()).digest()[0] % FOLDS


class Counts:
    """What became of answers, as the gateway keeps it."""

    def __init__(self, questions: Iterable[Question] = ()) -> None:
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        for question in questions:
            for model in MODELS:
                self.add(question, model)

    def __call__(self, model: str, cohort: str) -> Tally:
        return self._tallies[model, cohort]

    def add(self, question: Question, model: str) -> None:
        good = float(question.right[model])
        for cohort in (question.cohort, ALL):
            self._tallies[model, cohort] = self._tallies[model, cohort].after(good, 1 - good, 0.0)

    def failing(self, question: Question) -> float:
        """How likely the weak model is to fail."""
        return 1 - expected(self("weak", question.cohort), self("weak", ALL))


class Result(NamedTuple):
    """Percent of the questions answered rightly, and of those sent to the strong model."""

    right: float
    strong: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    questions = read(parser.parse_args().labels)
    subjects = {one.subject for one in questions}
    cohorts = {one.cohort for one in questions}
    print(f"{len(questions):,} questions, {len(subjects)} subjects, {len(cohorts)} cohorts\n")
    tell_models(questions)
    tell_foresight(questions)
    tell_replay(questions)
    tell_priors(questions)


def read(path: Path) -> list[Question]:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    questions = []
    for row in map(json.loads, lines):
        text = row["prompt"]
        prompt = Prompt(text[:READ_CHARS], chars=len(text), turns=1, messages=1)
        looks = difficulty(prompt)
        right = {model: bool(row[model]) for model in MODELS}
        questions.append(Question(row["subject"], prompt, looks.cohort, looks.score, right))
    return questions


def tell_models(questions: Sequence[Question]) -> None:
    def share(holds: Callable[[Question], bool]) -> str:
        return f"{100 * sum(map(holds, questions)) / len(questions):.1f} %"

    print("The same outcome of both models:", share(lambda one: one.right["weak"] == one.right["strong"]))
    print("Only the strong one is right:   ", share(lambda one: one.right["strong"] and not one.right["weak"]))
    print("Only the weak one is right:     ", share(lambda one: one.right["weak"] and not one.right["strong"]), "\n")


def tell_foresight(questions: Sequence[Question]) -> None:
    """How well each tells which questions the weak model fails."""
    rows = []
    for fold in range(FOLDS):
        seen = Counts(one for one in questions if one.fold != fold)
        unseen = [one for one in questions if one.fold == fold]
        rows.append(
            [
                auc((one.prompt.chars, one) for one in unseen),
                auc((one.score, one) for one in unseen),
                auc((seen.failing(one), one) for one in unseen),
            ]
        )
    stream, counts = [], Counts()
    for one in questions:
        stream.append((counts.failing(one), one))
        counts.add(one, "weak")
    print("AUC of foretelling that the weak model fails (0.5 is chance)\n")
    print("| what foretells | subjects not seen, mean of 5 folds (least to most) | whole file | as a stream |")
    print("|---|---|---|---|")
    whole = [auc((one.prompt.chars, one) for one in questions), auc((one.score, one) for one in questions), None]
    for place, name in enumerate(("length of the prompt", "the rule's score", "counts by cohort")):
        values = sorted(row[place] for row in rows)
        of_all, of_stream = whole[place], auc(stream) if place == 2 else None
        cells = [f"{sum(values) / FOLDS:.3f} ({values[0]:.3f} to {values[-1]:.3f})"]
        cells += ["" if value is None else f"{value:.3f}" for value in (of_all, of_stream)]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def tell_replay(questions: Sequence[Question]) -> None:
    """In the order of the file. Who learns hears only of the answer that was given."""
    weak, strong = (always(questions, model) for model in MODELS)
    print("Replay, in the order of the file\n")
    print("| policy | right | sent to strong | right at that share by chance | worst run against its default |")
    print("|---|---|---|---|---|")

    def row(name: str, results: Sequence[Result], default: Result | None = None) -> None:
        right, share = (sum(values) / len(results) for values in zip(*results, strict=True))
        by_chance = weak.right + (strong.right - weak.right) * share / 100
        worst = "" if default is None else f"{min(one.right for one in results) - default.right:+.1f} points"
        print(f"| {name} | {right:.1f} % | {share:.1f} % | {by_chance:.1f} % | {worst} |")

    row("always weak", [weak])
    row("always strong", [strong])
    rule = replay(questions, Complexity())
    row("the rule, above 0.5", [rule])
    row("the rule, above 0.3", [low := replay(questions, Complexity(above=(0.3,)))])
    row("prompt length, the rule's share above 0.5", [by_length(questions, rule.strong)])
    row("prompt length, the rule's share above 0.3", [by_length(questions, low.strong)])
    for name, default in (("weak", weak), ("strong", strong)):
        options: tuple[dict[str, float], ...] = (
            {},
            {"good_enough": 0.85},
            {"margin": 0.05},
            {"explore": 0.1},
            {"prior_mass": 20.0},
        )
        for more in options:
            policy = msgspec.convert({"targets": MODELS, "learn": True, "default": name, **more}, Complexity)
            said = "".join(f", `{option}: {value}`" for option, value in more.items())
            row(f"learned, default {name}{said}", [replay(questions, policy, seed=seed) for seed in SEEDS], default)
    print()


def tell_priors(questions: Sequence[Question]) -> None:
    """Whether counts from other subjects help where a gateway has learned nothing yet."""
    print("Subjects not seen, with no counts to begin with and with those of the other subjects\n")
    weak, strong = (always(questions, model) for model in MODELS)
    print("| default | counts | right | sent to strong | right at that share by chance | against the default |")
    print("|---|---|---|---|---|---|")
    for name in MODELS:
        for said, prior in (("none", False), ("of other subjects", True)):
            right = sent = base = 0.0
            for fold in range(FOLDS):
                unseen = [one for one in questions if one.fold == fold]
                counts = Counts((one for one in questions if one.fold != fold) if prior else ())
                policy = Complexity(targets=MODELS, learn=True, default=name)
                result = replay(unseen, policy, counts)
                share = len(unseen) / len(questions)
                right += result.right * share
                sent += result.strong * share
                base += always(unseen, name).right * share
            by_chance = weak.right + (strong.right - weak.right) * sent / 100
            print(
                f"| {name} | {said} | {right:.1f} % | {sent:.1f} % | {by_chance:.1f} % | {right - base:+.1f} points |"
            )


def replay(questions: Sequence[Question], policy: Complexity, counts: Counts | None = None, *, seed: int = 0) -> Result:
    counts = counts or Counts()
    chance = random.Random(seed)
    right = strong = 0
    for question in questions:
        query = RouteQuery(
            "auto",
            chance=chance.random(),
            prompt=lambda question=question: question.prompt,  # type: ignore[misc]  # bound now
            deployments=DEPLOYMENTS,
            tallies=counts,
        )
        chosen = policy(CANDIDATES, query).order[0].deployment.name
        counts.add(question, chosen)
        right += question.right[chosen]
        strong += chosen == "strong"
    return Result(100 * right / len(questions), 100 * strong / len(questions))


def always(questions: Sequence[Question], model: str) -> Result:
    right = sum(question.right[model] for question in questions)
    return Result(100 * right / len(questions), 100.0 * (model == "strong"))


def by_length(questions: Sequence[Question], strong: float) -> Result:
    """The longest to the strong model, as many as are *strong* percent."""
    ranked = sorted(questions, key=lambda one: -one.prompt.chars)
    sent = round(len(ranked) * strong / 100)
    right = sum(one.right["strong"] for one in ranked[:sent]) + sum(one.right["weak"] for one in ranked[sent:])
    return Result(100 * right / len(ranked), 100 * sent / len(ranked))


def auc(said: Iterable[tuple[float, Question]]) -> float:
    """The chance that a question which the weak model fails ranks above one which it does not; ties count half."""
    pairs = sorted(((value, not one.right["weak"]) for value, one in said), key=lambda pair: pair[0])
    failed = sum(fails for _, fails in pairs)
    ranks, start = 0.0, 0
    while start < len(pairs):
        end = start
        while end < len(pairs) and pairs[end][0] == pairs[start][0]:
            end += 1
        ranks += (start + 1 + end) / 2 * sum(fails for _, fails in pairs[start:end])
        start = end
    return (ranks - failed * (failed + 1) / 2) / (failed * (len(pairs) - failed))


if __name__ == "__main__":
    main()
