"""What a GGUF file says of its model, read from its first bytes. No tensor is touched, no file opened.

Source: ``docs/gguf.md`` in ggml-org/ggml; the keys, architectures and pooling numbers as in llama.cpp's
``src/llama-arch.cpp`` and ``include/llama.h``. Versions 2 and 3, little-endian; version 1 (2023) counts in 32 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from mmap import mmap

import msgspec

Head = bytes | bytearray | memoryview | mmap

MAX_METADATA_BYTES = 64 * 1024 * 1024  # a vocabulary of 262,144 words takes 6 to 12 MiB
MAX_KEY_BYTES = 65_535  # the format's own limit
MAX_ENTRIES = 65_536
MAX_TEXT_BYTES = 1024  # of a value that we keep; templates are only noticed

POOLINGS = ("none", "mean", "cls", "last", "rank")
# Encoders: there is nothing they could generate. What else embeds says so by its pooling type.
ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
    }
)

_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS: Mapping[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    _BOOL: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class GgufError(ValueError):
    """The file is not what it should be; the message says where it stops making sense."""


class Facts(msgspec.Struct, frozen=True):
    """*context_tokens* is what the model was trained for. *pooling* None: the file does not say."""

    architecture: str
    name: str | None = None
    context_tokens: int | None = None
    chat_template: bool = False
    pooling: str | None = None

    @property
    def reranks(self) -> bool:
        return self.pooling == "rank"

    @property
    def embeds(self) -> bool:
        """Made for embeddings and nothing else."""
        return not self.reranks and (self.architecture in ENCODERS or self.pooling in ("mean", "cls", "last"))


def facts(head: Head) -> Facts:
    """Raises `GgufError`. *head* may be the whole file, mapped: only its metadata is read."""
    if bytes(head[:4]) != b"GGUF":
        raise GgufError(f"it does not begin with GGUF but with {bytes(head[:4])!r}")
    reader = _Reader(head)
    version = reader.number(_U32)
    if version not in (2, 3):
        raise GgufError(f"GGUF version {version}; versions 2 and 3 (little-endian) are known")
    reader.number(_U64)  # tensors
    entries = reader.number(_U64)
    if entries > MAX_ENTRIES:
        raise GgufError(f"{entries} metadata entries; {MAX_ENTRIES} would be many")
    values: dict[str, str | int | float | bool] = {}
    templated = False
    for _ in range(entries):
        key = reader.text(MAX_KEY_BYTES)
        kind = reader.number(_U32)
        if key == "tokenizer.chat_template":
            templated = kind == _STRING
        if key.startswith("general.") or key.endswith((".context_length", ".pooling_type")):
            value = reader.value(kind)
            if value is not None:
                values[key] = value
        else:
            reader.skip(kind)
    return _of(values, templated)


def _of(values: Mapping[str, str | int | float | bool], templated: bool) -> Facts:
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise GgufError("its metadata has no general.architecture")
    name = values.get("general.name")
    context = values.get(f"{architecture}.context_length")
    pooling = values.get(f"{architecture}.pooling_type")
    return Facts(
        architecture=architecture,
        name=name if isinstance(name, str) and name else None,
        context_tokens=context if isinstance(context, int) and context > 0 else None,
        chat_template=templated,
        pooling=POOLINGS[pooling] if isinstance(pooling, int) and 0 <= pooling < len(POOLINGS) else None,
    )


class _Reader:
    """Walks forward. Every length is checked against what is left before it is believed."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._end = min(len(head), MAX_METADATA_BYTES)
        self._at = 4

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack_from(self._head, self._take(form.size))[0])

    def text(self, limit: int) -> str:
        size = self.number(_U64)
        if size > limit:
            raise GgufError(f"a text of {size} bytes at byte {self._at}, where {limit} would be long: it is damaged")
        start = self._take(size)
        return bytes(self._head[start : start + size]).decode("utf-8", "replace")

    def value(self, kind: int) -> str | int | float | bool | None:
        """The value, or None for an array or a text that is too long to be kept."""
        form = _NUMBERS.get(kind)
        if form is not None:
            found: int | float | bool = form.unpack_from(self._head, self._take(form.size))[0]
            return found
        if kind == _STRING and _U64.unpack_from(self._head, self._peek(_U64.size))[0] <= MAX_TEXT_BYTES:
            return self.text(MAX_TEXT_BYTES)
        self.skip(kind)
        return None

    def skip(self, kind: int, depth: int = 0) -> None:
        form = _NUMBERS.get(kind)
        if form is not None:
            self._take(form.size)
        elif kind == _STRING:
            self._take(self.number(_U64))
        elif kind == _ARRAY and depth < 4:
            of = self.number(_U32)
            count = self.number(_U64)
            if of == _STRING:
                self._skip_texts(count)
            elif of in _NUMBERS:
                self._take(count * _NUMBERS[of].size)
            else:
                for _ in range(self._believable(count, 12)):
                    self.skip(of, depth + 1)
        else:
            raise GgufError(f"a value of unknown type {kind} at byte {self._at}: it is damaged")

    def _skip_texts(self, count: int) -> None:
        """A vocabulary has some 100,000 words: this loop is most of what reading a file costs."""
        size_at, head, at, last = _U64.unpack_from, self._head, self._at, self._end - _U64.size
        for _ in range(self._believable(count, _U64.size)):
            if at > last:
                break
            at += 8 + size_at(head, at)[0]
        self._at = at
        self._peek(0)

    def _believable(self, count: int, least_bytes: int) -> int:
        self._peek(count * least_bytes)
        return count

    def _take(self, size: int) -> int:
        start = self._peek(size)
        self._at += size
        return start

    def _peek(self, size: int) -> int:
        if self._at + size > self._end:
            if len(self._head) > self._end:
                raise GgufError(f"its metadata goes on past {self._end} bytes: it is damaged")
            raise GgufError(
                f"it ends in the middle of its metadata, after {self._end} bytes: it is damaged or not whole"
            )
        return self._at
