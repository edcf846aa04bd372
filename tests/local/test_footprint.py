"""What an engine will take: by what its model's header says, and by how it is started."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.local.footprint import MIB, PROGRAM_BYTES, Launch, launched_by, longest_context, predicted
from moltbot_edge.local.gguf import Facts, Shape

# Of the files themselves. Their KiB a token at f16 are published by others: 12, 32 and 112.
QWEN_HALF = Facts("qwen2", context_tokens=32768, shape=Shape(24, 896, 4864, (14,), (2,), vocabulary=151936))
LLAMA_1B = Facts("llama", context_tokens=131072, shape=Shape(16, 2048, 8192, (32,), (8,), 64, 64, 128256))
QWEN3_SMALL = Facts("qwen3", context_tokens=40960, shape=Shape(28, 1024, 3072, (16,), (8,), 128, 128, 151936))
GEMMA = Facts(
    "gemma3", context_tokens=32768, shape=Shape(18, 640, 2048, (4,), (1,), 256, 256, 262144, sliding_window=512)
)
KIB = 1024


@pytest.mark.parametrize(("model", "kib"), [(QWEN_HALF, 12), (LLAMA_1B, 32), (QWEN3_SMALL, 112)])
def test_a_token_of_context_takes_what_is_known_of_it(model: Facts, kib: int) -> None:
    assert predicted(0, model, Launch(2048)).context == 2048 * kib * KIB


def test_a_shorter_type_makes_a_smaller_cache() -> None:
    launch = launched_by(["llama-server", "-c", "2048", "--cache-type-k", "q8_0", "-ctv", "q4_0"], LLAMA_1B)
    assert predicted(0, LLAMA_1B, launch).context == 2048 * 16 * KIB * (34 + 18) // 64


def test_layers_with_a_window_keep_no_more_than_the_window() -> None:
    """Fifteen of eighteen layers; 512 cells and a batch of 128 are padded to 768."""
    cell = 2 * 256 * 2
    assert predicted(0, GEMMA, Launch(8192, ubatch=128)).context == (15 * 768 + 3 * 8192) * cell
    assert predicted(0, GEMMA, Launch(8192, ubatch=128, whole_window=True)).context == 18 * 8192 * cell
    assert predicted(0, GEMMA, Launch(256, ubatch=128)).context == 18 * 256 * cell


def test_the_header_says_which_layers_have_a_window() -> None:
    shape = Shape(4, 64, heads=(1,), sliding_window=256, sliding_layers=(True, False, True, False))
    assert predicted(0, Facts("new", shape=shape), Launch(4096, ubatch=256)).context == 256 * (2 * 512 + 2 * 4096)


def test_layers_that_recur_keep_a_state_of_one_size() -> None:
    """Mamba, and a hybrid in which every second layer attends."""
    mamba = Shape(2, 768, ssm_conv=4, ssm_inner=1536, ssm_state=16)
    assert predicted(0, Facts("mamba", shape=mamba), Launch(99999)).context == 2 * 4 * (3 * 1536 + 16 * 1536)
    lfm = Shape(4, 1024, heads=(16,), kv_heads=(0, 8, 0, 8))
    assert predicted(0, Facts("lfm2", shape=lfm), Launch(1024)).context == 2 * 1024 * 8 * 64 * 2 * 2
    next_ = Shape(8, 64, heads=(1,), kv_heads=(1,), attention_every=4, ssm_inner=1)
    assert predicted(0, Facts("qwen3next", shape=next_), Launch(256)).context == 2 * 256 * 64 * 2 * 2


def test_an_encoder_keeps_no_context() -> None:
    bert = Facts("bert", shape=Shape(12, 384, 1536, (12,)))
    assert predicted(0, bert, launched_by(["x", "--ctx-size", "512"], bert)).context == 0


def test_weights_that_are_laid_out_anew_are_held_twice() -> None:
    q4_0 = Facts("llama", shape=Shape(tensor_bytes={2: 100 * MIB, 8: 5 * MIB}))
    assert predicted(110 * MIB, q4_0, launched_by(["x"], q4_0, {2})).copies == 100 * MIB
    assert predicted(110 * MIB, q4_0, launched_by(["x", "--no-repack"], q4_0, {2})).copies == 0
    assert predicted(110 * MIB, q4_0, launched_by(["x", "--gpu-layers", "999"], q4_0, {2})).copies == 0


def test_the_last_of_a_flag_counts_and_zero_is_all_that_was_trained_for() -> None:
    assert launched_by(["x", "--ctx-size", "512", "-c", "1024"], LLAMA_1B).context_tokens == 1024
    assert launched_by(["x", "--ctx-size=0"], LLAMA_1B).context_tokens == 131072
    assert launched_by(["x", "-ub", "64", "-np", "3"], LLAMA_1B) == Launch(131072, ubatch=64, slots=3)


def test_a_file_that_says_nothing_takes_its_size_and_the_programs() -> None:
    assert predicted(7 * MIB, Facts("new"), Launch(4096)).total == 7 * MIB + PROGRAM_BYTES


@given(st.integers(0, 4000), st.sampled_from([QWEN_HALF, LLAMA_1B, GEMMA]))
def test_the_longest_context_that_fits_does_and_one_longer_would_not(room_mib: int, model: Facts) -> None:
    launch, weights = Launch(32768, ubatch=128), 400 * MIB
    found = longest_context(weights, model, launch, room_mib * MIB)

    def takes(tokens: int) -> int:
        return predicted(weights, model, Launch(tokens, ubatch=128)).total

    assert found == 0 or takes(found) <= room_mib * MIB
    assert found == 32768 or takes(found + 256) > room_mib * MIB
