"""GGUF files as small as they can be: metadata of any kind, and tensors of which only is told."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Value = str | bool | int | float | Sequence[str] | Sequence[int]


def gguf(
    entries: Mapping[str, Value], version: int = 3, tensors: Sequence[tuple[str, tuple[int, ...], int]] = ()
) -> bytes:
    """*tensors*: the name of each, its extents, its type's number."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    told = [
        _text(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, kind, 0)
        for name, extents, kind in tensors
    ]
    return head + b"".join([*(_text(key) + _typed(value) for key, value in entries.items()), *told])


def chat_model(**more: Value) -> bytes:
    words = [f"word{number}" for number in range(200)]
    return gguf(
        {
            "general.architecture": "llama",
            "general.name": "A Model",
            "llama.context_length": 2048,
            "tokenizer.ggml.tokens": words,
            "tokenizer.ggml.token_type": list(range(200)),
            "tokenizer.chat_template": "{{ messages }}",
            **more,
        }
    )


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _typed(value: Value) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + _text(value)
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(str(one)) for one in value)
        case _:
            return struct.pack("<IIQ", 9, 4, len(value)) + b"".join(struct.pack("<I", one) for one in value)
