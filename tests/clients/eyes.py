"""A projector that lets a model of words see: the form of a real one, and weights that nobody trained.

What it sees means nothing, but the engine takes a picture, decodes it, and reads it as so many tokens. Source: what
llama.cpp's `tools/mtmd/clip.cpp` reads of a projector of the kind ``mlp``, which LLaVA has: it needs no
tokens of its own in the model's vocabulary.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

MODEL_WIDTH = 576  # SmolLM2-135M's
WIDTH, WIDER, HEADS = 32, 64, 2
PATCH_PIXELS, SIDE_PIXELS = 16, 64
PATCHES = (SIDE_PIXELS // PATCH_PIXELS) ** 2  # each becomes one token of the model's
BLOCKS = 2  # the last of them is not used
ALIGNMENT_BYTES = 32
STRING, ARRAY, U32, F32, BOOL = 8, 9, 4, 6, 7


def write(file: Path) -> Path:
    """*file*, of some 350 KB."""
    tensors: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (PATCH_PIXELS, PATCH_PIXELS, 3, WIDTH),
        "v.position_embd.weight": (WIDTH, PATCHES),
        "mm.0.weight": (WIDTH, MODEL_WIDTH),
        "mm.0.bias": (MODEL_WIDTH,),
        "mm.2.weight": (MODEL_WIDTH, MODEL_WIDTH),
        "mm.2.bias": (MODEL_WIDTH,),
    }
    for number in range(BLOCKS):
        tensors |= _block(f"v.blk.{number}")
    told, values = [], bytearray()
    for number, (name, extents) in enumerate(tensors.items()):
        values += bytes(-len(values) % ALIGNMENT_BYTES)
        told.append(_text(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, 0, len(values)))
        values += _weights(math.prod(extents), number)
    entries = _entries()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join([*entries, *told])
    file.write_bytes(head + bytes(-len(head) % ALIGNMENT_BYTES) + values)
    return file


def _block(name: str) -> dict[str, tuple[int, ...]]:
    return {
        **{f"{name}.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")},
        **{f"{name}.attn_{part}.bias": (WIDTH,) for part in ("q", "k", "v", "out")},
        **{f"{name}.ln{number}.{part}": (WIDTH,) for number in (1, 2) for part in ("weight", "bias")},
        # As files of this kind have always had it, the way up is called down, and the way down up.
        f"{name}.ffn_down.weight": (WIDTH, WIDER),
        f"{name}.ffn_down.bias": (WIDER,),
        f"{name}.ffn_up.weight": (WIDER, WIDTH),
        f"{name}.ffn_up.bias": (WIDTH,),
    }


def _entries() -> list[bytes]:
    half = (0.5, 0.5, 0.5)
    return [
        _entry("general.architecture", STRING, _text("clip")),
        _entry("general.type", STRING, _text("mmproj")),
        _entry("clip.has_vision_encoder", BOOL, b"\1"),
        _entry("clip.projector_type", STRING, _text("mlp")),
        _entry("clip.use_gelu", BOOL, b"\1"),
        _number("clip.vision.image_size", SIDE_PIXELS),
        _number("clip.vision.patch_size", PATCH_PIXELS),
        _number("clip.vision.embedding_length", WIDTH),
        _number("clip.vision.feed_forward_length", WIDER),
        _number("clip.vision.block_count", BLOCKS),
        _number("clip.vision.projection_dim", MODEL_WIDTH),
        _number("clip.vision.attention.head_count", HEADS),
        _entry("clip.vision.attention.layer_norm_epsilon", F32, struct.pack("<f", 1e-5)),
        _entry("clip.vision.image_mean", ARRAY, _floats(half)),
        _entry("clip.vision.image_std", ARRAY, _floats(half)),
    ]


def _weights(count: int, seed: int) -> bytes:
    """Small, and of both signs."""
    return struct.pack(f"<{count}f", *(math.sin(seed + place * 1.7) * 0.05 for place in range(count)))


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _number(key: str, value: int) -> bytes:
    return _entry(key, U32, struct.pack("<I", value))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _floats(values: Sequence[float]) -> bytes:
    return struct.pack("<IQ", F32, len(values)) + struct.pack(f"<{len(values)}f", *values)
