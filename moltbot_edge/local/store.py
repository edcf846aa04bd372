"""The GGUF files of the model stores, by the name under which callers ask for them. Not what is in them: `gguf`.

Names and parts as Hugging Face's downloaders and llama.cpp's ``gguf-split`` write them.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moltbot_edge.local.gguf import Facts, GgufError, facts

DEPTH = 3  # a store, a folder per publisher, a folder per model

_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_PROJECTOR = re.compile(r"^mmproj[-._]?|[-._]mmproj(?=[-._]|$)", re.IGNORECASE)
_QUANT = re.compile(r"[-._](?:i?q\d\w*|bf16|f16|f32|fp16|mxfp4)$", re.IGNORECASE)


def found_models(folders: Iterable[Path]) -> dict[str, Path]:
    """``SmolLM2-135M-Instruct.Q4_1.gguf`` is named ``smollm2-135m-instruct.q4_1``. In the order of the names.

    Of several files with one name the first folder's is taken; a split model is its first part. A folder that is
    not there, or may not be read, has nothing.
    """
    models: dict[str, Path] = {}
    for folder in folders:
        for file in _gguf_files(folder, DEPTH):
            part = _PART.search(file.stem)
            if _PROJECTOR.search(file.stem) or (part is not None and int(part[1]) != 1):
                continue
            models.setdefault(_PART.sub("", file.stem).lower(), file)
    return dict(sorted(models.items()))


def parts(file: Path) -> list[Path]:
    """Every file of the model that *file* is the first part of; *file* alone where it is not split."""
    part = _PART.search(file.stem)
    if part is None:
        return [file]
    stem, of = file.stem[: part.start()], part[2]
    return [file.with_name(f"{stem}-{number:05}-of-{of}{file.suffix}") for number in range(1, int(of) + 1)]


def projector(file: Path) -> Path | None:
    """What lets the model of *file* see: the ``mmproj`` file beside it, whatever the quantisation of either."""
    wanted = _bare(_PART.sub("", file.stem))
    for beside in _gguf_files(file.parent, 1):
        if _PROJECTOR.search(beside.stem) and _bare(_PROJECTOR.sub("", beside.stem)) == wanted:
            return beside
    return None


def facts_of(file: Path) -> Facts:
    """Raises `GgufError`, or `OSError` where it cannot be read. Passes over some 100,000 words: not for the loop."""
    with file.open("rb") as opened:
        if file.stat().st_size == 0:
            raise GgufError("it is empty")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as head:
            return facts(head)


def _gguf_files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.suffix.lower() == ".gguf":
            if entry.is_file():
                yield entry
        elif depth > 1 and entry.is_dir():
            yield from _gguf_files(entry, depth - 1)


def _bare(stem: str) -> str:
    return _QUANT.sub("", stem).lower()
