"""The models of this board as a person looks at them: how large each is, whether it fits, how much context would.

Of the files alone, or with what a running gateway knows of its engines. Nothing is started for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from moltbot_edge.config.schema import Engines
from moltbot_edge.local import store
from moltbot_edge.local.account import Room
from moltbot_edge.local.board import laid_out_anew
from moltbot_edge.local.footprint import launched_by
from moltbot_edge.local.gguf import GgufError
from moltbot_edge.local.keeping import KeepsNothing
from moltbot_edge.local.launch import CannotStart, EngineModel, Survey

Look = Callable[[EngineModel], Awaitable[Survey]]


class WouldKeep(KeepsNothing):
    """For who asks what an engine would take: with what lets it save to *folder*, which costs memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def slot_path(self, name: str) -> str | None:
        return str(self._folder)


class Fit(StrEnum):
    FITS = "fits"  # beside any other that fits
    ALONE = "fits alone"  # others may have to make room for it
    NOT = "does not fit"
    UNKNOWN = "unknown"  # what it takes is seen once it has run


class Shown(msgspec.Struct, frozen=True):
    """Bytes and tokens. *longest_context_tokens* is the most with which it would fit, of what the model is made for.

    *state* None: no gateway was asked. *problem*: why it cannot be served as it is.
    """

    name: str
    file: str
    size_bytes: int
    context_tokens: int | None
    needs_bytes: int
    fit: Fit
    longest_context_tokens: int | None
    state: str | None = None
    pinned: bool = False
    waiting: int = 0
    serving: int = 0
    problem: str | None = None


class Shelf(msgspec.Struct, frozen=True):
    """*limit_bytes* is what all engines may take together, *gateway* whether one runs."""

    gateway: bool
    limit_bytes: int
    models: tuple[Shown, ...]


class _Looked(msgspec.Struct, frozen=True):
    model: EngineModel
    survey: Survey | None
    need_bytes: int
    problem: str | None


async def listed(
    models: Sequence[EngineModel], look: Look, limit_bytes: int, rooms: Mapping[str, Room] | None = None
) -> Shelf:
    """*rooms* are of a running gateway, by name."""
    looked = [await _looked(model, look, (rooms or {}).get(model.name)) for model in models]
    shown = tuple(_shown(one, looked, limit_bytes, (rooms or {}).get(one.model.name)) for one in looked)
    return Shelf(rooms is not None, limit_bytes, shown)


def estimated(model: EngineModel, engines: Engines) -> Survey:
    """What its engine would be, where there is no llama-server to ask for its flags. Raises `CannotStart`."""
    try:
        facts = store.facts_of(model.file)
        size = sum(part.stat().st_size for part in store.parts(model.file))
    except GgufError as error:
        raise CannotStart(f"{model.file} cannot be read as a GGUF file: {error}") from error
    except OSError as error:
        raise CannotStart(f"{model.file} cannot be read: {error.strerror}") from error
    context = min(engines.context_tokens, facts.context_tokens or engines.context_tokens)
    words = ["--ctx-size", str(context), "--ubatch-size", "128", "--parallel", "1", *engines.args, *model.args]
    if engines.kv_disk_mb and facts.shape.sliding_window:
        words.append("--swa-full")
    return Survey(size, facts, launched_by(words, facts, laid_out_anew()))


async def _looked(model: EngineModel, look: Look, room: Room | None) -> _Looked:
    try:
        survey = await look(model)
    except CannotStart as error:
        return _Looked(model, None, room.needed_bytes if room is not None else 0, str(error))
    predicted = model.memory_bytes if model.memory_bytes is not None else survey.footprint.total
    return _Looked(model, survey, room.needed_bytes if room is not None and room.needed_bytes else predicted, None)


def _shown(one: _Looked, all_of_them: Sequence[_Looked], limit_bytes: int, room: Room | None) -> Shown:
    model, survey = one.model, one.survey
    others = [other for other in all_of_them if other is not one]
    free = limit_bytes - sum(other.need_bytes for other in others if other.model.pin)
    beside = [other.need_bytes for other in others if not other.model.pin and other.need_bytes <= free]
    return Shown(
        name=model.name,
        file="" if model.file == Path() else str(model.file).encode("utf-8", "replace").decode(),
        size_bytes=survey.weights_bytes if survey is not None else 0,
        context_tokens=survey.launch.context_tokens or None if survey is not None else None,
        needs_bytes=one.need_bytes,
        fit=_fit(one.need_bytes, free, beside),
        longest_context_tokens=_longest(survey, free - one.need_bytes) if survey is not None else None,
        state=room.state if room is not None else None,
        pinned=model.pin,
        waiting=room.waiting if room is not None else 0,
        serving=room.serving if room is not None else 0,
        problem=one.problem,
    )


def _fit(need: int, free: int, beside: Sequence[int]) -> Fit:
    if not need:
        return Fit.UNKNOWN
    if need > free:
        return Fit.NOT
    return Fit.FITS if need + max(beside, default=0) <= free else Fit.ALONE


def _longest(survey: Survey, spare_bytes: int) -> int | None:
    """*spare_bytes* beside what it takes now, which may be less than nothing."""
    if not survey.launch.keeps_context or not survey.facts.architecture:
        return None
    most = max(survey.launch.context_tokens, survey.facts.context_tokens or 0)
    longer = msgspec.structs.replace(survey, launch=msgspec.structs.replace(survey.launch, context_tokens=most))
    return longer.longest_context(survey.footprint.total + spare_bytes)
