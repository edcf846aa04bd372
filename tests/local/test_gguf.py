"""What a GGUF file says, and what is said of one that is not whole."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf_file import chat_model as chat_model_bytes
from gguf_file import gguf
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.local.gguf import Facts, GgufError, Shape, facts
from moltbot_edge.local.store import facts_of

WHOLE = chat_model_bytes()


def test_a_chat_model_says_what_it_is() -> None:
    found = facts(WHOLE)
    assert found == Facts("llama", "A Model", 2048, chat_template=True, shape=Shape(vocabulary=200))
    assert not found.embeds
    assert not found.reranks


@pytest.mark.parametrize(
    ("entries", "embeds", "reranks"),
    [
        ({"general.architecture": "bert", "bert.pooling_type": 1}, True, False),
        ({"general.architecture": "nomic-bert"}, True, False),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, True, False),
        ({"general.architecture": "bert", "bert.pooling_type": 4}, False, True),
        ({"general.architecture": "qwen3"}, False, False),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 0}, False, False),
        ({"general.architecture": "llama", "bert.pooling_type": 1}, False, False),
    ],
)
def test_models_for_embeddings_are_known_by_their_architecture_or_their_pooling(
    entries: dict[str, str | int], embeds: bool, reranks: bool
) -> None:
    found = facts(gguf(entries))
    assert (found.embeds, found.reranks) == (embeds, reranks)


def test_what_a_model_takes_in_memory_is_in_its_header() -> None:
    shape = facts(
        gguf(
            {
                "general.architecture": "lfm2",
                "lfm2.block_count": 4,
                "lfm2.embedding_length": 1024,
                "lfm2.attention.head_count": 16,
                "lfm2.attention.head_count_kv": [0, 8, 0, 8],
                "lfm2.attention.key_length": 64,
                "lfm2.attention.sliding_window": 512,
                "lfm2.attention.sliding_window_pattern": 6,
                "lfm2.vocab_size": 65536,
                "other.block_count": 99,
            }
        )
    ).shape
    assert shape == Shape(
        layers=4,
        embedding=1024,
        heads=(16,),
        kv_heads=(0, 8, 0, 8),
        key_length=64,
        vocabulary=65536,
        sliding_window=512,
        sliding_every=6,
    )


Q4_0, F32 = 2, 0


@pytest.mark.parametrize(
    ("tensors", "counted"),
    [
        ([("token_embd.weight", (64, 100), Q4_0), ("blk.0.ffn.weight", (64, 32), Q4_0)], 6400 + 2048),
        ([("token_embd.weight", (64, 100), Q4_0), ("output.weight", (64, 100), Q4_0)], 6400),
        ([("output.weight", (64, 100), Q4_0), ("token_embd.weight", (64, 100), Q4_0)], 6400),
        ([("blk.0.norm.weight", (64,), Q4_0), ("blk.0.ffn.weight", (64, 32), F32)], 0),
    ],
)
def test_matrices_that_are_multiplied_with_are_counted(
    tensors: list[tuple[str, tuple[int, ...], int]], counted: int
) -> None:
    shape = facts(gguf({"general.architecture": "llama"}, tensors=tensors)).shape
    assert shape.tensor_bytes.get(Q4_0, 0) == counted // 32 * 18


def test_the_older_version_is_read_too() -> None:
    assert facts(gguf({"general.architecture": "llama"}, version=2)).architecture == "llama"


def test_what_is_long_is_passed_over() -> None:
    file = gguf({"general.description": "word " * 10_000, "general.architecture": "llama"})
    assert facts(file).architecture == "llama"


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b"", "does not begin with GGUF"),
        (b"<!DOCTYPE html>", "does not begin with GGUF but with b'<!DO'"),
        (b"GGUF" + b"\0" * 4, "version 0"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "metadata entries"),
        (gguf({"general.name": "x"}), "no general.architecture"),
        (WHOLE[:1000], "ends in the middle of its metadata, after 1000 bytes"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "it is damaged"),
        (chat_model_bytes(**{"llama.block_count": 2**31}), "2147483648 layers"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 99), "unknown type 99"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**61), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 2**61), "damaged"),
    ],
)
def test_a_damaged_file_is_told_where_it_stops_making_sense(damaged: bytes, said: str) -> None:
    with pytest.raises(GgufError, match=said):
        facts(damaged)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_in_its_metadata_is_found_out(at: int) -> None:
    with pytest.raises(GgufError):
        facts(WHOLE[:at])


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)))
def test_no_bytes_whatever_do_more_than_raise(noise: bytes, at: int) -> None:
    for file in (noise, b"GGUF" + noise, WHOLE[:at] + noise, WHOLE[:at] + noise + WHOLE[at + len(noise) :]):
        try:
            facts(file)
        except GgufError:
            continue


def test_an_empty_file_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "none.gguf").touch()
    with pytest.raises(GgufError, match="empty"):
        facts_of(tmp_path / "none.gguf")


def test_a_real_model_is_read(chat_model: Path) -> None:
    found = facts_of(chat_model)
    assert found.architecture == "llama"
    assert found.context_tokens == 8192
    assert found.chat_template
    assert not found.embeds
