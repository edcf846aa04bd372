"""A kept conversation as a person reads it: who said what, when, by which model. Not the JSON of it.

What a model or a caller wrote is shown and nothing more: a terminal takes some of it for orders, so what is no letter
is spelled out.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import click

from moltbot_edge.core import session
from moltbot_edge.core.chat import File, Image, Message, Own, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from moltbot_edge.core.reply import FinishReason
from moltbot_edge.core.session import Turn

INDENT: Final = "  "
LONGEST: Final = 160  # characters of what is shown in one line: a call, its result, a thought
JOINERS: Final = "\u200c\u200d"  # which letters of some scripts, and pictures, are put together with
LEAST_WIDTH: Final = 20

_MARK: Final = re.compile(r" *(?:(?:[-*+\u2022>]|\d{1,3}[.)]) +)?")


def transcript(turns: Sequence[Turn], *, everything: bool, width: int | None) -> Iterator[str]:
    """Lines of *width* columns at most, None for as long as they are; *everything*: all branches."""
    shown = tuple(turns) if everything else session.path(turns, turns[-1].id if turns else None)
    names: dict[str, str] = {}
    last: str | None = None
    for turn in shown:
        said = [one for one in (*(turn.system or ()), *turn.messages, turn.reply) if one.parts]
        if not said:  # what was put there is not for people, or was taken out again
            last = turn.id if turn.parent == last else last
            continue
        if turn.parent != last:
            yield click.style(f"goes on after {turn.parent or 'the beginning'}", dim=True)
        last = turn.id
        yield _head(turn)
        if turn.tools is not None:
            yield _note(f"(tools from here on: {', '.join(tool.name for tool in turn.tools) or 'none'})")
        if turn.cut is not None:
            yield _note(f"(not sent: what was said up to {turn.cut.turn})")
            if turn.cut.summary:
                yield from _text(f"in its place: {turn.cut.summary}", width)
        for message in said:
            yield from _message(message, names, width)
        if turn.finish not in (FinishReason.STOP, FinishReason.TOOL_CALLS):
            yield _note(f"(ended by: {turn.finish.value})")
        if turn.dropped:
            yield _note(f"(not passed on: {', '.join(turn.dropped)})")
        yield ""
    if left := len(turns) - len(shown):
        yield click.style(f"turns of other branches: {left}, which --all shows", dim=True)


def when(at: float) -> str:
    """In this machine's time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def plain(text: str) -> str:
    """In one line, and with nothing in it that a terminal would do."""
    return "".join(char if char.isprintable() or char in JOINERS else _spelled(char) for char in text)


def _head(turn: Turn) -> str:
    by = turn.deployment if turn.deployment in ("", turn.model) else f"{turn.model}, by {turn.deployment}"
    usage = turn.usage
    tokens = "" if usage is None else f"  {usage.input_tokens} tokens in, {usage.output_tokens} out"
    said = click.style(f"{when(turn.at)}  {plain(by or turn.model)}", bold=True)
    return said + click.style(f"{tokens}  {plain(turn.dialect)}  {turn.id}", dim=True)


def _note(text: str) -> str:
    return click.style(INDENT + plain(text), dim=True)


def _message(message: Message, names: dict[str, str], width: int | None) -> Iterator[str]:
    who = message.role.value if message.name is None else f"{message.role.value} {plain(message.name)}"
    yield click.style(f"{who}:", fg=_COLOURS[message.role])
    for part in message.parts:
        match part:
            case Text(text=text):
                yield from _text(text, width)
            case Refusal(text=text):
                yield from _text(f"refuses: {text}", width)
            case _:
                yield from _wrapped(plain(_short(_in_a_line(part, names))), width)


_COLOURS: Final[Mapping[Role, str]] = {
    Role.SYSTEM: "magenta",
    Role.USER: "cyan",
    Role.ASSISTANT: "green",
    Role.TOOL: "yellow",
}


def _in_a_line(part: Part, names: dict[str, str]) -> str:
    match part:
        case ToolCall(id=id, name=name, arguments=arguments):
            names[id] = name
            return f"calls {name} {arguments}"
        case ToolResult(id=id, parts=parts, failed=failed, name=name):
            said = " ".join(one.text if isinstance(one, Text) else _in_a_line(one, names) for one in parts)
            return f"{name or names.get(id, id)} {'fails' if failed else 'answers'} {said}"
        case Reasoning(text=text):
            return f"thinks: {text}" if text else "thinks, and does not show it"
        case Image(data=data, url=url, media_type=kind, id=id):
            return f"[image {url or id or _size(kind, data)}]"
        case File(data=data, text=text, url=url, media_type=kind, id=id, name=name):
            return f"[file {' '.join(filter(None, (name, url or id or _size(kind, data, text))))}]"
        case Own(origin=origin, kind=kind):
            return f"[{kind} of {origin}]"
        case _:
            return f"[{part.__class__.__name__.lower()}]"


def _size(kind: str | None, data: str | None, text: str | None = None) -> str:
    size = len(text.encode()) if text is not None else len(data or "") * 3 // 4
    return f"{kind or 'of no known type'}, {size_of(size)}"


def size_of(size_bytes: int) -> str:
    for unit, one in (("MB", 1_000_000), ("kB", 1_000)):
        if size_bytes >= one:
            return f"{size_bytes / one:.1f} {unit}"
    return f"{size_bytes} B"


def _short(text: str) -> str:
    text = " ".join(text[: 2 * LONGEST].split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _text(text: str, width: int | None) -> Iterator[str]:
    """As it is; what is code is not wrapped."""
    code = False
    for line in text.strip("\r\n").replace("\r\n", "\n").split("\n"):
        fence = line.lstrip().startswith("```")
        said = plain(line.expandtabs(4).rstrip())
        yield from [INDENT + said if said else ""] if code or fence else _wrapped(said, width)
        code ^= fence


def _wrapped(line: str, width: int | None) -> Iterator[str]:
    """*line* in pieces of *width* columns, all but the first as far in as its words, behind what marks a list."""
    found = _MARK.match(line)
    first = found.group() if found is not None else ""
    rest = " " * len(first)
    room = None if width is None else max(LEAST_WIDTH, width - len(INDENT) - len(first))
    for place, piece in enumerate(_pieces(line[len(first) :].rstrip(), room)):
        yield (INDENT + (rest if place else first) + piece).rstrip()


def _pieces(line: str, room: int | None) -> Iterable[str]:
    if room is None or columns(line) <= room:
        return [line]
    pieces: list[str] = []
    piece = ""
    for word in line.split(" "):
        if piece and columns(piece) + 1 + columns(word) > room:
            pieces.append(piece)
            piece = word
        else:
            piece = f"{piece} {word}" if piece else word
        while columns(piece) > room:
            cut = _fitting(piece, room)
            pieces.append(piece[:cut])
            piece = piece[cut:]
    return [*pieces, piece]


def _fitting(word: str, room: int) -> int:
    """How many characters of *word* fit, and one at least."""
    taken = 0
    for place, char in enumerate(word):
        taken += _width(char)
        if taken > room:
            return max(1, place)
    return len(word)


def columns(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.combining(char) or char in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _spelled(char: str) -> str:
    return " " if char in "\n\t" else char.encode("unicode_escape").decode()
