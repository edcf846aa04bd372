"""How ``llama-server`` is started on a small board, as data. Only flags that the build at hand knows are used.

Flags and defaults move between builds, so ``--help`` is asked, not the version. Sources: llama.cpp's
``tools/server/README.md`` and ``server-context.cpp``, what others measured on Pi 4, Pi 5 and Orin Nano, and build
11434 with a 135M model on one x86 core:

- the prompt cache takes 8 GiB by default and every slot keeps 32 checkpoints, outside everyone's accounting;
  with both at 0 an Orin Nano lost 1 MB per request instead of 245 MB
- a request is dropped between two logical batches, so both batches are one size: a caller that left during prefill
  was noticed after 1.6 to 2.3 s with 512 over 128, after 0.4 to 1.5 s with 128 over 128, and neither prefilled faster;
  64 cost 10 % more time, 32 cost 65 %
- q8_0 halves the KV cache and made prefill 40 % slower on x86, where memory is the lesser want: a Pi takes it, a PC not
- CUDA on Orin cannot wait for the page cache to give memory back, so nothing is mapped there; on a Pi mapped
  weights can be dropped and read again
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from moltbot_edge.local.gguf import Facts

HOST = "127.0.0.1"

Flag = tuple[str, ...]  # spellings of one wish; the first that the build knows is used, else none


class Board(StrEnum):
    RASPBERRY_PI = "raspberry-pi"
    JETSON = "jetson"
    OTHER = "other"


class Settings(msgspec.Struct, frozen=True):
    """What is known only when an engine starts. *args* are the user's, of all engines and then of this model."""

    name: str
    file: str
    port: int
    context_tokens: int
    threads: int
    args: tuple[str, ...] = ()
    projector: str | None = None
    slot_path: str | None = None


_EVERYWHERE: tuple[Flag, ...] = (
    ("--parallel 1",),
    ("--cache-ram 0",),
    ("--ctx-checkpoints 0", "--swa-checkpoints 0"),
    ("--no-context-shift",),  # an error that the caller sees, in place of a beginning that is silently forgotten
    ("--metrics",),
    ("--slots",),
    ("--no-ui", "--no-webui"),
    ("--offline",),
)
_BOARDS: Mapping[Board, tuple[Flag, ...]] = {
    Board.RASPBERRY_PI: (("--load-mode mmap",),),
    Board.JETSON: (("--load-mode none", "--no-mmap"), ("--n-gpu-layers all", "--gpu-layers 999", "--n-gpu-layers 999")),
    Board.OTHER: (("--load-mode mmap",),),
}
_GENERATES: tuple[Flag, ...] = (("--jinja",), ("--flash-attn on", "--flash-attn"))
_CPU_BATCHES: tuple[Flag, ...] = (("--batch-size 128",), ("--ubatch-size 128",))
_GENERATES_ON: Mapping[Board, tuple[Flag, ...]] = {
    Board.RASPBERRY_PI: (*_CPU_BATCHES, ("--cache-type-k q8_0",), ("--cache-type-v q8_0",)),
    Board.JETSON: (("--batch-size 512",), ("--ubatch-size 512",)),  # a second of prefill there
    Board.OTHER: _CPU_BATCHES,
}


def board(device_tree_model: str) -> Board:
    """*device_tree_model* is what ``/proc/device-tree/model`` says; nothing, on a PC."""
    text = device_tree_model.lower()
    if "raspberry pi" in text:
        return Board.RASPBERRY_PI
    if "jetson" in text or "nvidia" in text:
        return Board.JETSON
    return Board.OTHER


_OPTION = re.compile(r"^(-[^\s,]+(?:, +-[^\s,]+)*)( \S)?", re.MULTILINE)


def known_flags(help_text: str) -> dict[str, bool]:
    """Every flag in *help_text*, and whether it takes a value.

    A line of it: ``-c,    --ctx-size N       size of the prompt context``. One blank between the last name and
    what follows is a value, more are the column of explanations.
    """
    return {name: found[2] is not None for found in _OPTION.finditer(help_text) for name in re.split(r", +", found[1])}


def flags(help_text: str, on: Board, model: Facts, settings: Settings) -> list[str]:
    """The arguments of ``llama-server``, without its own name.

    The profile's come first, the user's win over them (of a flag given twice llama-server takes the last), and where
    it listens and what it loads stand at the end, because the supervisor must know both.
    """
    known = known_flags(help_text)
    words: list[str] = []
    for flag in _wishes(on, model, settings):
        words += _spelled(flag, known)
    words += settings.args
    return [*words, "--model", settings.file, "--host", HOST, "--port", str(settings.port)]


def _wishes(on: Board, model: Facts, settings: Settings) -> list[Flag]:
    context = min(settings.context_tokens, model.context_tokens or settings.context_tokens)
    wishes = [*_EVERYWHERE, *_BOARDS[on], (f"--ctx-size {context}",), (f"--threads {settings.threads}",)]
    if "," not in settings.name:  # which would make it several names
        wishes.append((f"--alias {settings.name}",))
    if settings.projector is not None:
        wishes.append((f"--mmproj {settings.projector}",))
    if settings.slot_path is not None:
        wishes.append((f"--slot-save-path {settings.slot_path}",))
    if model.embeds or model.reranks:
        # What embeds reads its whole input in one physical batch.
        wishes += [(f"--batch-size {context}",), (f"--ubatch-size {context}",)]
        wishes.append(("--reranking", "--rerank") if model.reranks else ("--embeddings", "--embedding"))
        if model.embeds and model.pooling is None:
            wishes.append(("--pooling mean",))
        return wishes
    return [*wishes, *_GENERATES, *_GENERATES_ON[on]]


def _spelled(flag: Flag, known: Mapping[str, bool]) -> list[str]:
    for spelling in flag:
        name, _, value = spelling.partition(" ")
        if known.get(name) is bool(value):
            return [name, value] if value else [name]
    return []
