"""Which flags an engine is started with, for builds that know them and builds that do not."""

from __future__ import annotations

import msgspec
import pytest

from moltbot_edge.local.gguf import Facts, Shape
from moltbot_edge.local.profile import Board, Settings, flags, known_flags

# As llama.cpp prints them: build 10434 of 2026, and a build of spring 2025.
NEW = """\
----- common params -----

-t,    --threads N                      number of CPU threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
-b,    --batch-size N                   logical maximum batch size (default: 2048)
-ub,   --ubatch-size N                  physical maximum batch size (default: 512)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1
-ctv,  --cache-type-v TYPE              KV cache data type for V
--mmap, --no-mmap                       DEPRECATED in favor of `--load-mode`: whether to memory-map model. (if
-lm,   --load-mode MODE                 model loading mode (default: auto)
                                        - none: no special loading mode
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM, either an exact number,
-m,    --model FNAME                    model path to load
--offline                               Offline mode: forces use of cache, prevents network access
-ctxcp, --ctx-checkpoints, --swa-checkpoints N
                                        max number of context checkpoints to create per slot (default:
-cram, --cache-ram N                    set the maximum cache size in MiB (default: 8192, -1 - no limit, 0 -
--context-shift, --no-context-shift     whether to use context shift on infinite text generation (default:
--pooling {none,mean,cls,last,rank}     pooling type for embeddings, use model default if unspecified
-np,   --parallel N                     number of server slots (default: -1, -1 = auto)
-mm,   --mmproj FILE                    path to a multimodal projector file. see tools/mtmd/README.md
-a,    --alias STRING                   set model name aliases, comma-separated (to be used by API)
--host HOST                             ip address to listen, or bind to an UNIX socket if the address ends
--port PORT                             port to listen (default: 8080)
--ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI (default: enabled)
--embedding, --embeddings               restrict to only support embedding use case; use only with dedicated
--rerank, --reranking                   enable reranking endpoint on server (default: disabled)
--metrics                               enable prometheus compatible metrics endpoint (default: disabled)
--slots, --no-slots                     expose slots monitoring endpoint (default: enabled)
--slot-save-path PATH                   path to save slot kv cache (default: disabled)
--swa-full                              use full-size SWA cache (default: false)
--jinja, --no-jinja                     whether to use jinja template engine for chat (default: enabled)
"""
OLD = """\
-t,    --threads N                      number of threads to use during generation (default: -1)
-c,    --ctx-size N                     size of the prompt context (default: 4096, 0 = loaded from model)
-b,    --batch-size N                   logical maximum batch size (default: 2048)
-ub,   --ubatch-size N                  physical maximum batch size (default: 512)
-fa,   --flash-attn                     enable Flash Attention (default: disabled)
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
--no-mmap                               do not memory-map model (slower load but may reduce pageouts if not
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
-m,    --model FNAME                    model path (default: `models/$filename` with filename from `--hf-file`
--no-context-shift                      disables context shift on infinite text generation (default: disabled)
-np,   --parallel N                     number of parallel sequences to decode (default: 1)
-a,    --alias STRING                   set alias for model name (to be used by REST API)
--host HOST                             ip address to listen (default: 127.0.0.1)
--port PORT                             port to listen (default: 8080)
--no-webui                              Disable the Web UI (default: enabled)
--embedding, --embeddings               restrict to only support embedding use case; use only with dedicated
--metrics                               enable prometheus compatible metrics endpoint (default: disabled)
--jinja                                 use jinja template for chat (default: disabled)
"""
CHAT = Facts("llama", context_tokens=2048, chat_template=True)
EMBEDDER = Facts("bert", context_tokens=512, pooling="mean")
SETTINGS = Settings(name="small", file="/models/small.gguf", port=4711, context_tokens=4096, threads=4)


def line(
    help_text: str = NEW, board: Board = Board.RASPBERRY_PI_5, model: Facts = CHAT, settings: Settings = SETTINGS
) -> str:
    return " ".join(flags(help_text, board, model, settings))


def test_a_help_text_tells_names_and_whether_a_value_follows() -> None:
    known = known_flags(NEW)
    assert known["-c"] is known["--ctx-size"] is True
    assert known["--swa-checkpoints"] is True
    assert known["--no-webui"] is known["--ui"] is False
    assert "none:" not in known
    assert known_flags(OLD)["--flash-attn"] is False
    assert known["--flash-attn"] is True


def test_a_pi_gets_the_edge_profile() -> None:
    assert line() == (
        "--parallel 1 --cache-ram 0 --ctx-checkpoints 0 --no-context-shift --metrics --slots --no-ui --offline "
        "--load-mode mmap --ctx-size 2048 --threads 4 --alias small --jinja --flash-attn on "
        "--batch-size 128 --ubatch-size 128 --cache-type-k q8_0 --cache-type-v q8_0 "
        "--model /models/small.gguf --host 127.0.0.1 --port 4711"
    )


def test_a_pi_4_reads_in_smaller_steps() -> None:
    assert "--batch-size 64 --ubatch-size 64 --cache-type-k q8_0" in line(board=Board.RASPBERRY_PI_4)


def test_a_jetson_maps_nothing_and_computes_on_its_gpu() -> None:
    said = line(board=Board.JETSON)
    assert "--load-mode none --n-gpu-layers all" in said
    assert "--batch-size 512 --ubatch-size 512" in said
    assert "q8_0" not in said
    assert "--no-mmap --n-gpu-layers all" in line(OLD, Board.JETSON)


def test_an_older_build_is_given_only_what_it_knows() -> None:
    said = line(OLD)
    assert "--no-webui" in said
    assert "--flash-attn --batch-size" in said
    for unknown in ("--cache-ram", "--ctx-checkpoints", "--load-mode", "--offline", "--slots", "on "):
        assert unknown not in said


@pytest.mark.parametrize("board", Board)
@pytest.mark.parametrize("help_text", [NEW, OLD])
def test_no_flag_is_unknown_to_its_build(board: Board, help_text: str) -> None:
    for model in (CHAT, EMBEDDER, Facts("bert", pooling="rank")):
        known = known_flags(help_text)
        words = flags(help_text, board, model, SETTINGS)
        while words:
            flag = words.pop(0)
            if known[flag]:
                words.pop(0)


def test_the_context_is_bounded_by_the_setting_and_by_the_model() -> None:
    assert "--ctx-size 2048" in line()
    assert "--ctx-size 4096" in line(model=Facts("llama", context_tokens=131_072))
    assert "--ctx-size 4096" in line(model=Facts("llama"))


def test_a_model_for_embeddings_reads_its_input_in_one_batch() -> None:
    said = line(model=EMBEDDER)
    assert "--ctx-size 512" in said
    assert "--batch-size 512 --ubatch-size 512 --embeddings" in said
    assert "--pooling" not in said
    assert "--jinja" not in said
    assert "--pooling mean" in line(model=Facts("nomic-bert"))


def test_a_model_for_ranking_ranks() -> None:
    assert "--reranking" in line(model=Facts("bert", context_tokens=512, pooling="rank"))


def test_a_chat_model_embeds_where_the_user_says_so() -> None:
    settings = msgspec.structs.replace(SETTINGS, args=("--embeddings", "--pooling", "last"))
    said = line(settings=settings)
    assert "--jinja" in said
    assert said.index("--embeddings --pooling last") > said.index("--batch-size 128")


def said(*args: str, help_text: str = NEW, board: Board = Board.RASPBERRY_PI_5) -> str:
    """The command line where the user wrote *args*."""
    return line(help_text, board, settings=msgspec.structs.replace(SETTINGS, args=args))


@pytest.mark.parametrize(
    ("args", "displaced"),
    [
        (("--threads", "1"), "--threads 4"),
        (("-t", "1"), "--threads 4"),
        (("--ctx_size", "512"), "--ctx-size"),
        (("-np", "4"), "--parallel 1"),
        (("-cram", "64"), "--cache-ram 0"),
        (("--swa-checkpoints", "4"), "--ctx-checkpoints"),
        (("--context-shift",), "--no-context-shift"),
        (("--no-slots",), "--slots"),
        (("--webui",), "--no-ui"),
        (("--no-mmap",), "--load-mode"),
        (("-lm", "none"), "--load-mode"),
        (("--no-jinja",), "--jinja"),
        (("-ctk", "f16"), "--cache-type-k"),
        (("-fa", "auto"), "--flash-attn"),
        (("-ub", "32"), "--ubatch-size"),
        (("-a", "mine"), "--alias small"),
    ],
)
def test_what_the_user_says_stands_in_place_of_the_profiles(args: tuple[str, ...], displaced: str) -> None:
    assert f" {displaced}" in f" {said()}"
    assert f" {displaced} " not in f" {said(*args)} "
    assert f" {' '.join(args)} " in said(*args)


@pytest.mark.parametrize("board", Board)
@pytest.mark.parametrize("help_text", [NEW, OLD])
def test_every_flag_of_every_profile_gives_way(board: Board, help_text: str) -> None:
    """Whatever the profile says, the user can say in another spelling, and then stands alone."""
    known = known_flags(help_text)
    for model in (CHAT, EMBEDDER, Facts("bert", pooling="rank")):
        words = flags(help_text, board, model, SETTINGS)[:-6]  # without the model's file, host and port
        while words:
            flag = words.pop(0)
            args = (flag, words.pop(0)) if known[flag] else (flag,)
            again = flags(help_text, board, model, msgspec.structs.replace(SETTINGS, args=args))
            assert again.count(flag) == 1


def test_a_cache_of_half_the_size_needs_flash_attention() -> None:
    assert "q8_0" not in said("--flash-attn", "off")
    assert "q8_0" in said("--flash-attn", "on")


def test_where_it_listens_and_what_it_loads_is_not_the_users_to_say() -> None:
    line = said("-t", "1", "--port", "80", "-m", "other.gguf", "--host", "0.0.0.0", "--temp", "0.5")
    assert line.endswith("-t 1 --temp 0.5 --model /models/small.gguf --host 127.0.0.1 --port 4711")


def test_a_model_that_sees_is_given_its_projector_and_a_place_for_its_slots() -> None:
    settings = msgspec.structs.replace(SETTINGS, projector="/models/mm proj.gguf", slot_path="/slots")
    words = flags(NEW, Board.OTHER, CHAT, settings)
    assert words[words.index("--mmproj") + 1] == "/models/mm proj.gguf"
    assert words[words.index("--slot-save-path") + 1] == "/slots"


def test_a_sliding_window_is_kept_whole_where_it_may_be_saved() -> None:
    gemma = Facts("gemma3", context_tokens=32_768, shape=Shape(sliding_window=512))
    saves = msgspec.structs.replace(SETTINGS, slot_path="/slots")
    assert "--swa-full" in line(model=gemma, settings=saves)
    assert "--swa-full" not in line(model=gemma)
    assert "--swa-full" not in line(settings=saves)


def test_a_name_with_a_comma_is_one_alias() -> None:
    words = flags(NEW, Board.OTHER, CHAT, msgspec.structs.replace(SETTINGS, name="my model, v1"))
    assert words[words.index("--alias") + 1] == "my model  v1"
