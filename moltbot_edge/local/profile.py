"""How ``llama-server`` is started on a small board, as data. Only flags that the build at hand knows are used.

Flags and defaults move between builds, so ``--help`` is asked, not the version. Sources: llama.cpp's
``tools/server/README.md`` and ``server-context.cpp``, what others measured on Pi 4, Pi 5 and Orin Nano, and build
11434 with a 135M model on one x86 core:

- the prompt cache takes 8 GiB by default and every slot keeps 32 checkpoints, outside everyone's accounting;
  with both at 0 an Orin Nano lost 1 MB per request instead of 245 MB
- a request is dropped between two logical batches, so both batches are one size: a caller that left during prefill
  was noticed after 1.6 to 2.3 s with 512 over 128, after 0.4 to 1.5 s with 128 over 128, and neither prefilled faster;
  64 cost 10 % more time, 32 cost 65 %. A Pi 4 reads 12 tokens of a 1B model in a second, a Pi 5 some 40: there 128
  tokens are ten seconds during which nobody is heard, so a Pi 4 takes 64
- q8_0 halves the KV cache and made prefill 40 % slower on x86, where memory is the lesser want: a Pi takes it, a PC not
- of a sliding window the engine keeps what it needs next, and cannot use that once it was saved and loaded: of 724
  tokens with Gemma 3 270M none was cached then, with ``--swa-full`` all were. That took 49 MB more at 4,096 tokens
- CUDA on Orin cannot wait for the page cache to give memory back, so nothing is mapped there; on a Pi mapped
  weights can be dropped and read again
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from moltbot_edge.local.gguf import Facts

HOST = "127.0.0.1"

Flag = tuple[str, ...]  # spellings of one wish; the first that the build knows is used, else none


class Board(StrEnum):
    """*RASPBERRY_PI_4* stands for the older ones too, *RASPBERRY_PI_5* for what has its processor or a newer one."""

    RASPBERRY_PI_4 = "raspberry-pi-4"
    RASPBERRY_PI_5 = "raspberry-pi-5"
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
    Board.RASPBERRY_PI_4: (("--load-mode mmap",),),
    Board.RASPBERRY_PI_5: (("--load-mode mmap",),),
    Board.JETSON: (("--load-mode none", "--no-mmap"), ("--n-gpu-layers all", "--gpu-layers 999", "--n-gpu-layers 999")),
    Board.OTHER: (("--load-mode mmap",),),
}
_GENERATES: tuple[Flag, ...] = (("--jinja",), ("--flash-attn on", "--flash-attn"))
_HALF_KV: tuple[Flag, ...] = (("--cache-type-k q8_0",), ("--cache-type-v q8_0",))
_CPU_BATCHES: tuple[Flag, ...] = (("--batch-size 128",), ("--ubatch-size 128",))
_GENERATES_ON: Mapping[Board, tuple[Flag, ...]] = {
    Board.RASPBERRY_PI_4: (("--batch-size 64",), ("--ubatch-size 64",), *_HALF_KV),
    Board.RASPBERRY_PI_5: (*_CPU_BATCHES, *_HALF_KV),
    Board.JETSON: (("--batch-size 512",), ("--ubatch-size 512",)),  # a second of prefill there
    Board.OTHER: _CPU_BATCHES,
}

OURS = ("--model", "--host", "--port")  # the supervisor must know what they say
# Other names of one wish, beside those that stand in one line of the help.
_RELATED: Mapping[str, tuple[str, ...]] = {
    "--load-mode": ("--mmap", "--no-mmap", "--mlock", "--direct-io", "--no-direct-io"),
}
_OFF = frozenset({"off", "0", "false"})
_PI = re.compile(r"raspberry pi (?:compute module )?(\d)")


def board(device_tree_model: str) -> Board:
    """*device_tree_model* is what ``/proc/device-tree/model`` says; nothing, on a PC."""
    text = device_tree_model.lower()
    if "raspberry pi" in text:
        generation = _PI.search(text)
        return Board.RASPBERRY_PI_5 if generation and int(generation[1]) >= 5 else Board.RASPBERRY_PI_4
    if "jetson" in text or "nvidia" in text:
        return Board.JETSON
    return Board.OTHER


_OPTION = re.compile(r"^(-[^\s,]+(?:, +-[^\s,]+)*)( \S)?", re.MULTILINE)


def known_flags(help_text: str) -> dict[str, bool]:
    """Every flag in *help_text*, and whether it takes a value.

    A line of it: ``-c,    --ctx-size N       size of the prompt context``. One blank between the last name and
    what follows is a value, more are the column of explanations.
    """
    return {name: takes for names, takes in _lines(help_text) for name in names}


def flags(help_text: str, on: Board, model: Facts, settings: Settings) -> list[str]:
    """The arguments of ``llama-server``, without its own name.

    What the user says stands in the place of what the profile would say, in whichever spelling: of `--no-mmap` and
    `--load-mode mmap` only the user's is passed on. Where it listens and what it loads is not the user's to say.
    """
    known = known_flags(help_text)
    said = _Said(help_text, settings.args)
    words: list[str] = []
    for flag in _wishes(on, model, settings):
        if said.turns_off("--flash-attn") and flag in _HALF_KV:
            continue  # llama-server refuses to load a quantised V cache without it
        spelled = _spelled(flag, known)
        if spelled and not said.about(spelled[0]):
            words += spelled
    words += said.words
    return [*words, "--model", settings.file, "--host", HOST, "--port", str(settings.port)]


class _Said:
    """The user's *words*, less those that are `OURS`, and what they are about."""

    def __init__(self, help_text: str, args: Sequence[str]) -> None:
        lines = _lines(help_text)
        takes = {name: value for names, value in lines for name in names}
        self.words: list[str] = []
        self._family = {name: frozenset(names) for names, _ in lines for name in names}
        self._values: dict[str, str] = {}
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name = word.replace("_", "-") if word.startswith("--") else word  # as llama-server reads it
            value = [rest.pop(0)] if takes.get(name) and rest else []
            if not self._family.get(name, frozenset({name})).intersection(OURS):
                self.words += [word, *value]
                self._values[name] = value[0] if value else ""

    def about(self, name: str) -> bool:
        """Has the user said the same, or the opposite, in any spelling?"""
        family = self._family.get(name, frozenset({name}))
        related = {other for one in family for other in _RELATED.get(one, ())}
        return not (family | related).isdisjoint(self._values)

    def turns_off(self, name: str) -> bool:
        return any(self._values.get(one) in _OFF for one in self._family.get(name, ()))


def _lines(help_text: str) -> list[tuple[list[str], bool]]:
    """The names of each option, its opposites among them, and whether a value follows."""
    return [(re.split(r", +", found[1]), found[2] is not None) for found in _OPTION.finditer(help_text)]


def _wishes(on: Board, model: Facts, settings: Settings) -> list[Flag]:
    context = min(settings.context_tokens, model.context_tokens or settings.context_tokens)
    wishes = [*_EVERYWHERE, *_BOARDS[on], (f"--ctx-size {context}",), (f"--threads {settings.threads}",)]
    wishes.append((f"--alias {settings.name.replace(',', ' ')}",))  # a comma would make it several names
    if settings.projector is not None:
        wishes.append((f"--mmproj {settings.projector}",))
    if settings.slot_path is not None:
        wishes.append((f"--slot-save-path {settings.slot_path}",))
        if model.shape.sliding_window:
            wishes.append(("--swa-full",))
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
