"""The GGUF files of the model stores, by the name under which callers ask for them. Not what is in them: `gguf`.

Names and parts as Hugging Face's downloaders and llama.cpp's ``gguf-split`` write them.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moltbot_edge.local.gguf import Facts, GgufError, facts

MOST_PARTS = 999  # of 50 GB, as hubs want them
DEPTH = 3  # a store, a folder per publisher, a folder per model

PART = re.compile(r"-(\d{5})-of-(\d{5})$")
PROJECTOR = re.compile(r"^mmproj[-._]?|[-._]mmproj(?=[-._]|$)", re.IGNORECASE)
_QUANT = re.compile(r"[-._](?:i?q\d\w*|bf16|f16|f32|fp16|mxfp4)$", re.IGNORECASE)


def found_models(folders: Iterable[Path]) -> dict[str, Path]:
    """``SmolLM2-135M-Instruct.Q4_1.gguf`` is named ``smollm2-135m-instruct.q4_1``. In the order of the names.

    Of several files with one name the first folder's is taken; a split model is its first part. A folder that is
    not there, or may not be read, has nothing. What no header or JSON text can carry is a `-` in the name.
    """
    models: dict[str, Path] = {}
    for folder in folders:
        for file in _gguf_files(folder, DEPTH):
            part = PART.search(file.stem)
            if PROJECTOR.search(file.stem) or (part is not None and int(part[1]) != 1):
                continue
            name = "".join(sign if sign.isprintable() else "-" for sign in PART.sub("", file.stem))
            models.setdefault(name.lower(), file)
    return dict(sorted(models.items()))


def parts(file: Path) -> list[Path]:
    """Every file of the model that *file* is the first part of; *file* alone where it is not split."""
    return [file.with_name(name) for name in names_of_parts(file.name)]


def names_of_parts(name: str) -> list[str]:
    """Of the model that a file of *name* belongs to, whichever part it is; *name* alone where it is not split."""
    stem, dot, suffix = name.rpartition(".")
    part = PART.search(stem)
    if part is None or not 0 < int(part[1]) <= int(part[2]) <= MOST_PARTS:
        return [name]
    return [f"{stem[: part.start()]}-{number:05}-of-{part[2]}{dot}{suffix}" for number in range(1, int(part[2]) + 1)]


def projector(file: Path) -> Path | None:
    """What lets the model of *file* see: the ``mmproj`` file beside it, whatever the quantisation of either."""
    wanted = _bare(PART.sub("", file.stem))
    for beside in _gguf_files(file.parent, 1):
        if PROJECTOR.search(beside.stem) and _bare(PROJECTOR.sub("", beside.stem)) == wanted:
            return beside
    return None


def removable(file: Path, stores: Iterable[Path]) -> list[Path]:
    """The files of the model of *file*, with what lets it see if no other model does. Raises `ValueError` with why not.

    Only what lies in a store: what the configuration names elsewhere is not ours. A link is removed, not what it is to.
    """
    folder = file.parent.resolve()
    if file == Path() or not any(folder.is_relative_to(one.resolve()) for one in stores):
        raise ValueError(
            f"{file if file != Path() else 'what it runs'} is not in the model store: it is yours to remove"
        )
    found = [one for one in parts(file) if one.exists() or one.is_symlink()]
    sight = projector(file)
    if sight is not None and not any(
        one not in found and projector(one) == sight for one in found_models([file.parent]).values()
    ):
        found.append(sight)
    return found


def remove(files: Iterable[Path]) -> list[Path]:
    """Those that were there, and what was kept of a download of them."""
    removed = []
    for file in files:
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        removed.append(file)
        for kept in (f"{file.name}.part", f"{file.name}.part.json"):
            file.with_name(kept).unlink(missing_ok=True)
    return removed


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
