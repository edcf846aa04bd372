"""What a GGUF file says of its model, read from its first bytes. No tensor is touched, no file opened.

Source: ``docs/gguf.md`` in ggml-org/ggml; the keys, architectures and pooling numbers as in llama.cpp's
``src/llama-arch.cpp`` and ``include/llama.h``. Versions 2 and 3, little-endian; version 1 (2023) counts in 32 bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from mmap import mmap

import msgspec

Head = bytes | bytearray | memoryview | mmap

MAX_METADATA_BYTES = 64 * 1024 * 1024  # a vocabulary of 262,144 words takes 6 to 12 MiB
MAX_KEY_BYTES = 65_535  # the format's own limit
MAX_ENTRIES = 65_536
MAX_TENSORS = 65_536
MAX_TENSOR_NAME_BYTES = 1024  # GGML's own limit is 64
MAX_DIMENSIONS = 4
MAX_LAYERS = 1024  # the largest models have 126
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

# Of the numbers that follow the architecture's name in a key.
KEPT = (
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.sliding_window",
    ".attention.sliding_window_pattern",
    ".attention.value_length",
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".feed_forward_length",
    ".full_attention_interval",
    ".pooling_type",
    ".ssm.conv_kernel",
    ".ssm.group_count",
    ".ssm.inner_size",
    ".ssm.state_size",
    ".vocab_size",
)
# Weights in a block and its bytes, by GGML type: those that an engine may lay out anew for its processor.
BLOCKS: Mapping[int, tuple[int, int]] = {
    2: (32, 18),  # Q4_0
    8: (32, 34),  # Q8_0
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    20: (32, 18),  # IQ4_NL
    39: (32, 17),  # MXFP4
}

Value = str | int | float | bool | tuple[int, ...]

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
_WHOLE_NUMBERS = frozenset(_NUMBERS) - {6, 12}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class GgufError(ValueError):
    """The file is not what it should be; the message says where it stops making sense."""


class Shape(msgspec.Struct, frozen=True):
    """What decides how much memory a model takes. A list has one number for each layer; 0 and empty: not said.

    *tensor_bytes* are the bytes of matrices by their GGML type: those that are multiplied with, not only looked up.
    """

    layers: int = 0
    embedding: int = 0
    feed_forward: int = 0
    heads: tuple[int, ...] = ()
    kv_heads: tuple[int, ...] = ()
    key_length: int = 0
    value_length: int = 0
    vocabulary: int = 0
    sliding_window: int = 0
    sliding_layers: tuple[bool, ...] = ()
    sliding_every: int = 0
    attention_every: int = 0
    ssm_conv: int = 0
    ssm_inner: int = 0
    ssm_state: int = 0
    ssm_groups: int = 0
    tensor_bytes: Mapping[int, int] = {}


class Facts(msgspec.Struct, frozen=True):
    """*context_tokens* is what the model was trained for. *pooling* None: the file does not say."""

    architecture: str
    name: str | None = None
    context_tokens: int | None = None
    chat_template: bool = False
    pooling: str | None = None
    shape: Shape = Shape()

    @property
    def reranks(self) -> bool:
        return self.pooling == "rank"

    @property
    def embeds(self) -> bool:
        """Made for embeddings and nothing else."""
        return not self.reranks and (self.architecture in ENCODERS or self.pooling in ("mean", "cls", "last"))

    @property
    def generates(self) -> bool:
        return not self.embeds and not self.reranks


def facts(head: Head) -> Facts:
    """Raises `GgufError`. *head* may be the whole file, mapped: only its metadata is read."""
    if bytes(head[:4]) != b"GGUF":
        raise GgufError(f"it does not begin with GGUF but with {bytes(head[:4])!r}")
    reader = _Reader(head)
    version = reader.number(_U32)
    if version not in (2, 3):
        raise GgufError(f"GGUF version {version}; versions 2 and 3 (little-endian) are known")
    tensors = reader.number(_U64)
    entries = reader.number(_U64)
    if entries > MAX_ENTRIES:
        raise GgufError(f"{entries} metadata entries; {MAX_ENTRIES} would be many")
    values: dict[str, Value] = {}
    templated = False
    for _ in range(entries):
        key = reader.text(MAX_KEY_BYTES)
        kind = reader.number(_U32)
        if key == "tokenizer.chat_template":
            templated = kind == _STRING
        if key == "tokenizer.ggml.tokens" and kind == _ARRAY:
            values[key] = reader.count()
        elif key.startswith("general.") or key.endswith(KEPT):
            value = reader.value(kind)
            if value is not None:
                values[key] = value
            continue
        reader.skip(kind)
    return _of(values, templated, _tensor_bytes(reader, tensors))


def _of(values: Mapping[str, Value], templated: bool, tensor_bytes: Mapping[int, int]) -> Facts:
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
        shape=_shape(values, f"{architecture}.", tensor_bytes),
    )


def _shape(values: Mapping[str, Value], family: str, tensor_bytes: Mapping[int, int]) -> Shape:
    def numbers(key: str) -> tuple[int, ...]:
        match values.get(family + key):
            case bool():
                return ()
            case int(one):
                return (one,)
            case tuple(several):
                return tuple(int(one) for one in several)
            case _:
                return ()

    def number(key: str) -> int:
        return max((*numbers(key), 0))

    layers = number("block_count")
    if layers > MAX_LAYERS:
        raise GgufError(f"{layers} layers; {MAX_LAYERS} would be many")
    words = values.get("tokenizer.ggml.tokens")
    pattern = values.get(f"{family}attention.sliding_window_pattern")
    return Shape(
        layers=layers,
        embedding=number("embedding_length"),
        feed_forward=number("feed_forward_length"),
        heads=numbers("attention.head_count"),
        kv_heads=numbers("attention.head_count_kv"),
        key_length=number("attention.key_length"),
        value_length=number("attention.value_length"),
        vocabulary=words if isinstance(words, int) else number("vocab_size"),
        sliding_window=number("attention.sliding_window"),
        sliding_layers=tuple(bool(one) for one in pattern) if isinstance(pattern, tuple) else (),
        sliding_every=pattern if isinstance(pattern, int) and not isinstance(pattern, bool) else 0,
        attention_every=number("full_attention_interval"),
        ssm_conv=number("ssm.conv_kernel"),
        ssm_inner=number("ssm.inner_size"),
        ssm_state=number("ssm.state_size"),
        ssm_groups=number("ssm.group_count"),
        tensor_bytes=tensor_bytes,
    )


def _tensor_bytes(reader: _Reader, tensors: int) -> Mapping[int, int]:
    """Bytes by type. The embeddings are only looked up, where the model has an output of its own."""
    if tensors > MAX_TENSORS:
        raise GgufError(f"{tensors} tensors; {MAX_TENSORS} would be many")
    by_type: dict[int, int] = {}
    embeddings = (0, 0)
    has_output = False
    for _ in range(tensors):
        name = reader.text(MAX_TENSOR_NAME_BYTES)
        dimensions = reader.number(_U32)
        if dimensions > MAX_DIMENSIONS:
            raise GgufError(f"the tensor {name!r} has {dimensions} dimensions: it is damaged")
        extents = [reader.number(_U64) for _ in range(dimensions)]
        kind = reader.number(_U32)
        reader.number(_U64)  # where it begins
        block, block_bytes = BLOCKS.get(kind, (1, 0))
        if dimensions < 2 or not block_bytes:
            continue
        size = math.prod(extents) // block * block_bytes
        if name == "token_embd.weight":
            embeddings = kind, size
            continue
        has_output = has_output or name == "output.weight"
        by_type[kind] = by_type.get(kind, 0) + size
    kind, size = embeddings
    if size and not has_output:
        by_type[kind] = by_type.get(kind, 0) + size
    return by_type


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

    def count(self) -> int:
        """How many an array has, which comes next. It stays to be read."""
        self._peek(12)
        return int(_U64.unpack_from(self._head, self._at + 4)[0])

    def value(self, kind: int) -> Value | None:
        """The value, or None for what is too long to be kept. Of arrays, short ones of whole numbers are not."""
        form = _NUMBERS.get(kind)
        if form is not None:
            found: int | float | bool = form.unpack_from(self._head, self._take(form.size))[0]
            return found
        if kind == _STRING and _U64.unpack_from(self._head, self._peek(_U64.size))[0] <= MAX_TEXT_BYTES:
            return self.text(MAX_TEXT_BYTES)
        if kind == _ARRAY:
            of = _U32.unpack_from(self._head, self._peek(_U32.size))[0]
            if of in _WHOLE_NUMBERS and self.count() <= MAX_LAYERS:
                self._take(_U32.size)
                several = [_NUMBERS[of] for _ in range(self.number(_U64))]
                return tuple(int(form.unpack_from(self._head, self._take(form.size))[0]) for form in several)
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
