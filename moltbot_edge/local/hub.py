"""What a person calls a model that shall be pulled -> which files it is. Pure; `pull` asks the hub, `download` fetches.

Source: the Hugging Face hub's HTTP interface, which its mirrors speak too. ``/api/models/OWNER/NAME/tree/REVISION``
lists files; of one in large-file storage ``lfs.oid`` is the SHA-256. ``/OWNER/NAME/resolve/REVISION/PATH`` is the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from moltbot_edge.local.store import PART, PROJECTOR, names_of_parts

HUB: Final = "https://huggingface.co"
# Other names of it, as people copy them. Its address may be another: a mirror's, by HF_ENDPOINT.
HUB_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
USUAL: Final = ("Q4_K_M", "Q4_0", "Q4_1")  # the first that there is, where nobody says which; a small board's choice
SHOWN: Final = 40  # names in an error

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_QUANT = re.compile(r"(?:^|[-._/])(I?Q\d\w*|BF16|F16|F32|FP16|MXFP4\w*|TQ\d\w*)(?=[-._/]|$)", re.IGNORECASE)
_SUFFIX: Final = ".gguf"


class PullError(Exception):
    """Why a model was not pulled, for the one who wants it."""


class InRepository(msgspec.Struct, frozen=True):
    """*path* is a file in it, *quant* a kind of quantisation; with neither, the usual one."""

    repository: str
    revision: str = "main"
    path: str | None = None
    quant: str | None = None


class AtUrl(msgspec.Struct, frozen=True):
    url: str


class Listed(msgspec.Struct, frozen=True):
    """A file of a repository. *sha256* None: the hub does not say."""

    path: str
    bytes: int
    sha256: str | None = None


class Wanted(msgspec.Struct, frozen=True):
    """A file to be fetched, and its name in the store. *bytes* and *sha256* are None where nobody has said them yet."""

    url: str
    name: str
    bytes: int | None = None
    sha256: str | None = None


def source(text: str, hub: str = HUB) -> InRepository | AtUrl:
    """``OWNER/NAME``, ``hf.co/OWNER/NAME:Q4_K_M``, ``OWNER/NAME/folder/file.gguf``, a URL. Raises `PullError`."""
    text = text.strip()
    scheme, found, rest = text.partition("://")
    if found:
        if scheme not in ("http", "https"):
            raise PullError(f"{text!r} cannot be fetched: expected http:// or https://")
        split, own = urlsplit(text), urlsplit(hub)
        if split.hostname in HUB_HOSTS:
            path = split.path
        elif split.netloc.lower() == own.netloc.lower():
            path = split.path.removeprefix(own.path.rstrip("/"))
        else:
            return AtUrl(_checked(text))
        rest = unquote(path)
    else:
        host, _, below = text.partition("/")
        rest = below if host in HUB_HOSTS else text
    return _in_repository(rest.strip("/"), text)


def _in_repository(rest: str, said: str) -> InRepository:
    match rest.split("/"):
        case [owner, last]:
            name, _, quant = last.partition(":")
            path, revision = None, "main"
        case [owner, name, "resolve" | "blob" | "raw", revision, *folders] if folders:
            path, quant = "/".join(folders), ""
        case [owner, name, *folders] if folders:
            path, revision, quant = "/".join(folders), "main", ""
        case _:
            owner = name = quant = ""
            path, revision = None, "main"
    words = [owner, name, revision, *(path.split("/") if path is not None else ())]
    if not all(_WORD.fullmatch(word) for word in words) or (quant and not _WORD.fullmatch(quant)):
        raise PullError(
            f"{said!r} is no model: expected a URL, or of the hub OWNER/NAME, OWNER/NAME:QUANT or OWNER/NAME/FILE.gguf"
        )
    return InRepository(f"{owner}/{name}", revision, path, quant or None)


def _checked(url: str) -> str:
    split = urlsplit(url)
    if not split.hostname or split.username is not None:
        raise PullError("expected a URL with a host, and without credentials: they would stand in logs")
    if not split.path.lower().endswith(_SUFFIX):
        raise PullError(f"{split.path!r} does not end in {_SUFFIX}: only GGUF files are pulled")
    return url


def listing_url(hub: str, found: InRepository) -> str:
    revision = quote(found.revision, safe="")
    return f"{hub.rstrip('/')}/api/models/{found.repository}/tree/{revision}?recursive=true"


def file_url(hub: str, found: InRepository, path: str) -> str:
    return f"{hub.rstrip('/')}/{found.repository}/resolve/{quote(found.revision, safe='')}/{quote(path)}"


class _Stored(msgspec.Struct):
    oid: str = ""
    size: int = 0


class _Entry(msgspec.Struct):
    type: str = ""
    path: str = ""
    size: int = 0
    lfs: _Stored | None = None


_entries = msgspec.json.Decoder(list[_Entry]).decode


def listed(body: bytes) -> list[Listed]:
    """The GGUF files among what the hub lists. Raises `msgspec.DecodeError`."""
    found = []
    for one in _entries(body):
        if one.type != "file" or not one.path.lower().endswith(_SUFFIX):
            continue
        if one.lfs is None:
            found.append(Listed(one.path, one.size))
        else:
            digest = one.lfs.oid.removeprefix("sha256:").lower()
            known = re.fullmatch(r"[0-9a-f]{64}", digest) is not None
            found.append(Listed(one.path, one.lfs.size or one.size, digest if known else None))
    return found


def chosen(wanted: InRepository, files: Sequence[Listed]) -> list[Listed]:
    """The files of one model, in the order of its parts. Raises `PullError`, which lists what there is."""
    models = _models(files)
    if not models:
        raise PullError(f"{wanted.repository} has no GGUF files: look for a repository with GGUF in its name")
    if wanted.path is not None:
        for several in models.values():
            if wanted.path in [one.path for one in several]:
                return several
        for one in files:
            if one.path == wanted.path:
                return [one]  # what lets a model see, or else no model by itself
        raise PullError(f"{wanted.repository} has no file {wanted.path!r}; there is: {_shown(models)}")
    if wanted.quant is not None:
        return _of_quant(wanted, wanted.quant, models)
    if len(models) == 1:
        return next(iter(models.values()))
    for quant in USUAL:
        fitting = _with_quant(quant, models)
        if len(fitting) == 1:
            return models[fitting[0]]
    quants = _quants(models)
    there_is = ", ".join(quants[:SHOWN]) if quants else _shown(models)
    raise PullError(f"{wanted.repository} has several: say which, {wanted.repository}:QUANT, of {there_is}")


def _of_quant(wanted: InRepository, quant: str, models: dict[str, list[Listed]]) -> list[Listed]:
    fitting = _with_quant(quant, models)
    if len(fitting) == 1:
        return models[fitting[0]]
    if fitting:
        files = ", ".join(f"{wanted.repository}/{models[one][0].path}" for one in fitting[:SHOWN])
        raise PullError(f"{wanted.repository} has several of {quant}: say which file, of {files}")
    raise PullError(f"{wanted.repository} has no {quant}; there is: {', '.join(_quants(models)) or _shown(models)}")


def _with_quant(quant: str, models: Iterable[str]) -> list[str]:
    return [name for name in models if quant.upper() in _quants_of(name)]


def _quants(models: Iterable[str]) -> list[str]:
    return sorted({quant for name in models for quant in _quants_of(name)[-1:]})


def _quants_of(name: str) -> list[str]:
    return [found.upper() for found in _QUANT.findall(name)]


def _models(files: Sequence[Listed]) -> dict[str, list[Listed]]:
    """By path without its ending, whole models only: every part of what is split, and nothing that is no model."""
    by_path = {one.path: one for one in files}
    models = {}
    for path, one in sorted(by_path.items()):
        folder, _, name = path.rpartition("/")
        stem = name[: -len(_SUFFIX)]
        part = PART.search(stem)
        if PROJECTOR.search(stem) or (part is not None and int(part[1]) != 1):
            continue
        if part is None:
            models[path[: -len(_SUFFIX)]] = [one]
            continue
        names = [f"{folder}/{other}" if folder else other for other in names_of_parts(name)]
        if all(other in by_path for other in names):
            models[path[: -len(_SUFFIX)][: -len(part[0])]] = [by_path[other] for other in names]
    return models


def _shown(models: dict[str, list[Listed]]) -> str:
    paths = [several[0].path for several in models.values()]
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def in_repository(hub: str, found: InRepository, files: Sequence[Listed]) -> list[Wanted]:
    return [
        Wanted(file_url(hub, found, one.path), file_name(one.path.rpartition("/")[2]), one.bytes, one.sha256)
        for one in files
    ]


def at_url(found: AtUrl) -> list[Wanted]:
    """All parts, where the URL is of one of them."""
    split = urlsplit(found.url)
    folder, _, last = split.path.rpartition("/")
    name = unquote(last)
    return [
        Wanted(split._replace(path=f"{folder}/{last if other == name else quote(other)}").geturl(), file_name(other))
        for other in names_of_parts(name)
    ]


def file_name(name: str) -> str:
    """*name*, if it may be a file's in the store. Raises `PullError`."""
    if not name.isprintable() or "/" in name or name.startswith(".") or len(name.encode()) > 200:
        raise PullError(f"{name!r} cannot be a file's name")
    return name
