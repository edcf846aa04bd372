"""How much memory an engine will take, before it runs: from its model's header and its command. Pure.

Sources: llama.cpp b11434, ``llama-kv-cache*.cpp`` (cells), ``llama-memory-recurrent.cpp`` (states), ``repack.cpp``
(which types are laid out anew, a copy beside the mapped file). What an engine takes beside them was read off builds
11434 and 11549 with a 135M model: 241 MiB measured at 4,096 tokens of context, 248 predicted. Where a header does not
say enough the prediction is too high, and the first measurement puts it right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from moltbot_edge.local.gguf import Facts, Shape

MIB = 1024 * 1024
PROGRAM_BYTES = 40 * MIB  # code, tokenizer, threads' stacks
CELLS = 256  # a cache is padded to a multiple of it
DEFAULT_UBATCH = 512  # llama-server's own

# Bytes of a value in the cache.
CACHE_TYPES: Mapping[str, float] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
# Every how many layers one sees the whole context, where the architecture knows it and the header does not say.
SLIDING_EVERY: Mapping[str, int] = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}

_NAMES: Mapping[str, str] = {
    "-c": "--ctx-size",
    "-ctk": "--cache-type-k",
    "-ctv": "--cache-type-v",
    "-ub": "--ubatch-size",
    "-np": "--parallel",
    "-fa": "--flash-attn",
    "-nr": "--no-repack",
    "-ngl": "--n-gpu-layers",
    "--gpu-layers": "--n-gpu-layers",
    "--embedding": "--embeddings",
    "--rerank": "--reranking",
}


class Launch(msgspec.Struct, frozen=True):
    """What of a command decides about memory. *repacked* are the GGML types that this processor wants anew.

    *slots* None: the command does not say how many requests are answered at the same time.
    """

    context_tokens: int
    ubatch: int = DEFAULT_UBATCH
    slots: int | None = None
    key_bytes: float = 2.0
    value_bytes: float = 2.0
    flash: bool = True
    whole_window: bool = False
    keeps_context: bool = True
    repacked: frozenset[int] = frozenset()


class Footprint(msgspec.Struct, frozen=True):
    """Bytes. *weights* are the files as they are mapped or read, *copies* what of them is held a second time."""

    weights: int
    copies: int = 0
    context: int = 0
    compute: int = 0
    program: int = PROGRAM_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.copies + self.context + self.compute + self.program


def launched_by(words: Sequence[str], model: Facts, repacked: Collection[int] = ()) -> Launch:
    """Of a flag given twice the last counts, as llama-server takes it. *repacked*: see `Launch`."""
    said: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-"):
            name, _, value = word.partition("=")
            said[_NAMES.get(name, name)] = value or after
    trained = model.context_tokens or 0
    on_gpu = said.get("--n-gpu-layers", "0") not in ("0", "")  # what lies there is not laid out for the processor
    return Launch(
        context_tokens=_number(said.get("--ctx-size"), 0) or trained or 4096,
        ubatch=_number(said.get("--ubatch-size"), DEFAULT_UBATCH),
        slots=_number(said.get("--parallel"), 0) or None,
        key_bytes=CACHE_TYPES.get(said.get("--cache-type-k", "f16"), 2.0),
        value_bytes=CACHE_TYPES.get(said.get("--cache-type-v", "f16"), 2.0),
        flash=said.get("--flash-attn") != "off",
        whole_window="--swa-full" in said,
        keeps_context=not (model.embeds or model.reranks),
        repacked=frozenset() if "--no-repack" in said or on_gpu else frozenset(repacked),
    )


def predicted(weights_bytes: int, model: Facts, launch: Launch) -> Footprint:
    """*weights_bytes* are those of all the model's files."""
    shape = model.shape
    return Footprint(
        weights=weights_bytes,
        copies=sum(size for kind, size in shape.tensor_bytes.items() if kind in launch.repacked),
        context=_context_bytes(model, launch) if launch.keeps_context else 0,
        compute=_compute_bytes(shape, launch),
    )


def longest_context(weights_bytes: int, model: Facts, launch: Launch, room_bytes: int) -> int:
    """The most tokens of context with which it fits into *room_bytes*; 0 where none do."""

    def fits(cells: int) -> bool:
        asked = msgspec.structs.replace(launch, context_tokens=cells * CELLS)
        return predicted(weights_bytes, model, asked).total <= room_bytes

    least, most = 0, launch.context_tokens // CELLS
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least * CELLS


def _context_bytes(model: Facts, launch: Launch) -> int:
    shape = model.shape
    heads = max((*shape.heads, 1))
    head_length = shape.embedding // heads
    key, value = shape.key_length or head_length, shape.value_length or head_length
    per_head = key * launch.key_bytes + value * launch.value_bytes
    total = 0.0
    for layer in range(shape.layers):
        if _recurs(shape, layer):
            total += (launch.slots or 1) * _state_bytes(shape)
        else:
            total += _cells(model, launch, layer) * _of_layer(shape.kv_heads or shape.heads, layer) * per_head
    return round(total)


def _cells(model: Facts, launch: Launch, layer: int) -> int:
    whole = _padded(launch.context_tokens)
    if not _slides(model, layer) or launch.whole_window:
        return whole
    return min(whole, (launch.slots or 1) * _padded(model.shape.sliding_window + launch.ubatch))


def _slides(model: Facts, layer: int) -> bool:
    shape = model.shape
    if not shape.sliding_window:
        return False
    if shape.sliding_layers:
        return layer < len(shape.sliding_layers) and shape.sliding_layers[layer]
    every = shape.sliding_every or SLIDING_EVERY.get(model.architecture, 1)
    return layer % every < every - 1


def _recurs(shape: Shape, layer: int) -> bool:
    """Its layers' memory is a state, that no context lengthens."""
    if not shape.ssm_inner and not (len(shape.kv_heads) > 1 and _of_layer(shape.kv_heads, layer) == 0):
        return False
    if shape.attention_every:
        return (layer + 1) % shape.attention_every != 0
    return not shape.kv_heads or _of_layer(shape.kv_heads, layer) == 0


def _state_bytes(shape: Shape) -> float:
    convolution = max(shape.ssm_conv - 1, 0) * (shape.ssm_inner + 2 * shape.ssm_groups * shape.ssm_state)
    return 4.0 * (convolution + shape.ssm_state * shape.ssm_inner)


def _compute_bytes(shape: Shape, launch: Launch) -> int:
    """The widest step of a batch: the words to choose from, or a layer; without flash attention each head's matrix."""
    widest = max(shape.vocabulary, 2 * shape.feed_forward + 4 * shape.embedding)
    matrix = 0 if launch.flash else max((*shape.heads, 1)) * launch.context_tokens
    return 4 * min(launch.ubatch, launch.context_tokens) * (widest + matrix)


def _of_layer(numbers: Sequence[int], layer: int) -> int:
    return numbers[min(layer, len(numbers) - 1)] if numbers else 0


def _padded(cells: int) -> int:
    return -(-cells // CELLS) * CELLS


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default
