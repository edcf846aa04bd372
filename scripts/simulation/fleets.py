"""Fleets, and the requests that come to them. The same seed gives the same requests, whatever the policy."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .machine import Job, Machine

REQUESTS = 2_000  # of one run
BYTES_PER_TOKEN = 4.3  # of the text; a model's tokenizer is not what the gateway assumes
TEMPLATE_TOKENS = 20
MEDIAN_PROMPT, SPREAD_PROMPT, LONGEST_PROMPT = 400, 0.8, 6_000
MEDIAN_OUTPUT, SPREAD_OUTPUT = 80, 0.6
CONVERSATIONS = 24
TURNS = 12  # of a conversation, then its user begins another


@dataclass(frozen=True)
class Fleet:
    """*every_s* is between two requests, on average; they come independently of each other."""

    name: str
    every_s: float
    machines: Callable[[random.Random], list[Machine]]
    jobs: Callable[[random.Random, float], list[Job]]


def _jobs(chance: random.Random, every_s: float) -> list[Job]:
    """Questions of all sizes that have nothing to do with each other."""
    at = 0.0
    jobs = []
    for _ in range(REQUESTS):
        at += chance.expovariate(1 / every_s)
        tokens = min(int(chance.lognormvariate(0, SPREAD_PROMPT) * MEDIAN_PROMPT) + 1, LONGEST_PROMPT)
        text = f"{chance.getrandbits(64):x} " + "x" * int(tokens * BYTES_PER_TOKEN)
        jobs.append(Job(at, _body(text), tokens + TEMPLATE_TOKENS, _output(chance)))
    return jobs


def _talk(chance: random.Random, every_s: float) -> list[Job]:
    """Conversations that go on, turn by turn, some at the same time. They begin as long as an agent's prompt."""
    at = 0.0
    said: dict[int, str] = {}
    turns: dict[int, int] = {}
    number = CONVERSATIONS
    users = list(range(CONVERSATIONS))  # which conversation each of them is in
    jobs = []
    for _ in range(REQUESTS):
        at += chance.expovariate(1 / every_s)
        user = chance.randrange(CONVERSATIONS)
        if turns.get(users[user], 0) >= TURNS:
            users[user] = number
            number += 1
        one = users[user]
        turns[one] = turns.get(one, 0) + 1
        before = said.get(one) or _words(chance, 1_500)
        text = said[one] = before + _words(chance, 60)
        output = _output(chance)
        said[one] += _words(chance, output)  # the answer is part of the next request
        jobs.append(Job(at, _body(text), int(len(text) / BYTES_PER_TOKEN) + TEMPLATE_TOKENS, output, one))
    return jobs


def _output(chance: random.Random) -> int:
    return int(chance.lognormvariate(0, SPREAD_OUTPUT) * MEDIAN_OUTPUT) + 2


def _words(chance: random.Random, tokens: int) -> str:
    return f"{chance.getrandbits(64):016x}" * (int(tokens * BYTES_PER_TOKEN / 16) + 1)


def _body(text: str) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": "chat", "messages": [message], "stream": True}).encode()


def _stalls(chance: random.Random) -> list[tuple[float, float]]:
    """For 30 s, every five minutes or so."""
    now = 0.0
    stalls: list[tuple[float, float]] = []
    while len(stalls) < 500:
        now += chance.expovariate(1 / 300)
        stalls.append((now, now + 30.0))
        now += 30.0
    return stalls


def _equal(chance: random.Random) -> list[Machine]:
    return [Machine("a"), Machine("b")]


def _one_slow(chance: random.Random) -> list[Machine]:
    return [Machine("a"), Machine("b"), Machine("slow", prefill_rate=80.0, decode_rate=8.0, fixed_s=0.25)]


def _one_stalls(chance: random.Random) -> list[Machine]:
    return [Machine("a"), Machine("b"), Machine("stalls", stalls=_stalls(chance))]


def _equal_that_keep(chance: random.Random) -> list[Machine]:
    return [Machine(name, keeps=CONVERSATIONS) for name in "abc"]


def _unequal_that_keep(chance: random.Random) -> list[Machine]:
    slow = Machine("slow", prefill_rate=80.0, decode_rate=8.0, fixed_s=0.25, keeps=CONVERSATIONS)
    return [Machine("a", keeps=CONVERSATIONS), Machine("b", keeps=CONVERSATIONS), slow]


def _one_warm(chance: random.Random) -> list[Machine]:
    warm = OrderedDict.fromkeys(range(CONVERSATIONS), 1_500)
    return [Machine("a"), Machine("b"), Machine("warm", keeps=CONVERSATIONS, kept=warm)]


FLEETS: Mapping[str, Fleet] = {
    fleet.name: fleet
    for fleet in (
        Fleet("two equal", 4.0, _equal, _jobs),
        Fleet("three, one of them 5x slower", 7.0, _one_slow, _jobs),
        Fleet("three, one of them stalls", 3.0, _one_stalls, _jobs),
        Fleet("three, one of them with a warm cache", 4.0, _one_warm, _talk),
    )
}

# Conversations that go on, on machines that all keep what they have read.
TALKING: Mapping[str, Fleet] = {
    fleet.name: fleet
    for fleet in (
        Fleet("three equal", 3.0, _equal_that_keep, _talk),
        Fleet("three, one of them 5x slower", 6.0, _unequal_that_keep, _talk),
    )
}
