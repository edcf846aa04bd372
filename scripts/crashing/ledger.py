"""What callers asked and saw, and what is wrong with what was kept of it. A fault is a sentence."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from moltbot_edge.core.chat import Message, Role, Text
from moltbot_edge.core.session import Turn

WORDS = (
    "sea",
    "stone",
    "café",
    "日本",
    "of",
    "the",
    "and",
    "a",
    "light",
    "quantum",
    "bread",
    "naïve",
    "\n",
    "—",
    "in",
    "42",
)
REPLY_WORDS = (3, 200)  # some 15 to 1,000 characters

Pair = tuple[str, str]


def reply_to(question: str) -> str:
    """All that the played model ever says to *question*."""
    chance = random.Random(question)
    words = [chance.choice(WORDS) for _ in range(chance.randrange(*REPLY_WORDS))]
    return f"As to {question.partition(':')[0]}: {' '.join(words)} [end]"


@dataclass(eq=False)
class Question:
    """*expected* are the pairs that its caller knows to have been said before; *seen*: its reply's last byte came.

    *response* is the reply's id, where its dialect has one to go on after.
    """

    text: str
    expected: Sequence[Pair]
    seen: bool = False
    turn: str | None = None
    response: str | None = None


@dataclass(eq=False)
class Conversation:
    """*shared*: several callers go on with it. *history*: its caller sends all that it saw, and so may branch.

    *chained*: it goes on after the last response that was seen, in a *session* that the gateway has named.
    """

    name: str
    shared: bool = False
    history: bool = False
    chained: bool = False
    session: str | None = None
    asked: list[Question] = field(default_factory=list)

    def ask(self, chance: random.Random) -> Question:
        number = len(self.asked)
        words = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 120)))
        text = f"{self.name} question {number}: {words}".strip()
        question = Question(text, [(one.text, reply_to(one.text)) for one in self.asked if one.seen])
        self.asked.append(question)
        return question


class Ledger:
    """*seen* counts replies whose last byte came."""

    def __init__(self) -> None:
        self.conversations: dict[str, Conversation] = {}
        self.faults: list[str] = []
        self.seen = 0
        self.shown = 0

    def begin(self, name: str, *, shared: bool = False, history: bool = False, chained: bool = False) -> Conversation:
        conversation = Conversation(name, shared, history, chained, None if chained else name)
        self.conversations[name] = conversation
        return conversation

    def show(self, messages: Sequence[Pair]) -> None:
        """What the upstream was asked, as roles and texts: is it the whole conversation?"""
        self.shown += 1
        *before, (role, text) = messages
        name = text.partition(" ")[0]
        conversation = self.conversations.get(name)
        question = next((one for one in conversation.asked if one.text == text), None) if conversation else None
        if role != "user" or conversation is None or question is None:
            self.faults.append(f"the upstream was asked what nobody asked: {role} {text[:100]!r}")
            return
        pairs = [(one[1], two[1]) for one, two in zip(before[::2], before[1::2], strict=False)]
        if [one for one, _ in before] != ["user", "assistant"] * (len(before) // 2) or len(before) % 2:
            self.faults.append(f"{name}: the roles before {text[:60]!r} are {[one for one, _ in before]}")
        self.faults += (f"{name}, shown upstream: {fault}" for fault in self._of_pairs(conversation, pairs))
        # Before what its caller saw there may be what was kept and never seen: a history is known by its end too.
        if conversation.history and pairs[len(pairs) - len(question.expected) :] != list(question.expected):
            self.faults.append(f"{name}: its caller's own history was not what the upstream was shown")
        if conversation.chained and pairs != list(question.expected):
            self.faults.append(f"{name}: not what the response before goes on after was shown upstream")
        missing = [asked for asked, _ in question.expected if asked not in {one for one, _ in pairs}]
        self.faults += (f"{name}: seen and not shown upstream again: {asked[:60]!r}" for asked in missing)

    def check(self, name: str, turns: Sequence[Turn]) -> None:
        """*turns* is all that the store has of a session."""
        conversation = self.conversations[name]
        pairs: list[Pair] = []
        for turn in turns:
            match turn.messages, turn.reply:
                case (Message(role=Role.USER, parts=(Text(text=asked),)),), Message(
                    role=Role.ASSISTANT, parts=(Text(text=said),)
                ):
                    pairs.append((asked, said))
                case other:
                    self.faults.append(f"{name}: the turn {turn.id} is not one question and its reply: {other!r:.300}")
                    return
        self.faults += (f"{name}: {fault}" for fault in self._of_pairs(conversation, pairs))
        self.faults += (
            f"{name}: {fault}" for fault in _of_tree(turns, line=not (conversation.history or conversation.chained))
        )
        ids = {asked: turn.id for (asked, _), turn in zip(pairs, turns, strict=True)}
        for one in conversation.asked:
            if one.seen and one.text not in ids:
                self.faults.append(f"{name}: seen to its end and not kept: {one.text[:60]!r}")
            if one.seen and one.turn != ids.get(one.text, one.turn):
                self.faults.append(f"{name}: kept as {ids[one.text]} and said to be {one.turn}: {one.text[:60]!r}")

    def _of_pairs(self, conversation: Conversation, pairs: Sequence[Pair]) -> Iterator[str]:
        """None twice, none half, none of somebody else's, and in the order in which they were asked."""
        places = {one.text: place for place, one in enumerate(conversation.asked)}
        texts = [asked for asked, _ in pairs]
        for asked, said in pairs:
            if asked not in places:
                yield f"nobody asked {asked[:80]!r} here"
            elif said != reply_to(asked):
                yield f"half a reply to {asked[:60]!r}: {len(said)} of {len(reply_to(asked))} characters"
        if len(set(texts)) != len(texts):
            yield f"twice: {sorted({one[:60] for one in texts if texts.count(one) > 1})}"
        found = [places[one] for one in texts if one in places]
        if not conversation.shared and found != sorted(found):
            yield f"not in the order in which it was asked: {found}"


def _of_tree(turns: Sequence[Turn], *, line: bool) -> Iterator[str]:
    ids = [turn.id for turn in turns]
    if any(one >= other for one, other in pairwise(ids)):
        yield f"ids that are not in order: {ids}"
    for place, turn in enumerate(turns):
        if line and turn.parent != (ids[place - 1] if place else None):
            yield f"the turn {turn.id} goes on after {turn.parent}, not after the one before it"
        if turn.parent is not None and turn.parent not in ids[:place]:
            yield f"the turn {turn.id} goes on after {turn.parent}, which is not there"
