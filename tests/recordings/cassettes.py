"""Take recorded replies of the vendors out of other projects' tests: `python cassettes.py FOLDER [NAME...]`, by hand.

FOLDER holds the unpacked source distributions that the table names; README.md has their licences. A body is kept as it
was recorded there, byte for byte, but for what names somebody: that is made zeros, as many as there were characters.
"""

from __future__ import annotations

import base64
import gzip
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent

OPENAI = "opentelemetry_instrumentation_openai-0.62.4/tests/traces/cassettes"
OPENAI_V2 = "opentelemetry_instrumentation_openai_v2-2.4b0/tests/cassettes"
ANTHROPIC = "opentelemetry_instrumentation_anthropic-0.62.4/tests/cassettes"
OLLAMA = "opentelemetry_instrumentation_ollama-0.62.4/tests/cassettes"
MIRASCOPE = "mirascope-2.8.2/tests/e2e/input/cassettes"
LANGCHAIN_OPENAI = "langchain_openai-1.7.4/tests/cassettes"
LANGCHAIN_ANTHROPIC = "langchain_anthropic-1.7.10/tests/cassettes"

# A recording, the cassette, and which of its replies.
CASSETTES: dict[str, tuple[str, int]] = {
    "openai_chat/plain.sse": (f"{OPENAI}/test_chat/test_chat_streaming_memory_leak_prevention.yaml", 0),
    "openai_chat/plain.json": (f"{OPENAI}/test_chat/test_chat.yaml", 0),
    "openai_chat/tools.sse": (f"{OPENAI_V2}/test_chat_completion_multiple_tools_streaming_with_content.yaml", 0),
    "openai_chat/structured.json": (f"{OPENAI}/test_chat_parse/test_parsed_completion.yaml", 0),
    "openai_chat/refusal.json": (f"{OPENAI}/test_chat_parse/test_parsed_refused_completion.yaml", 0),
    "openai_chat/error.json": (f"{OPENAI_V2}/test_chat_completion_404.yaml", 0),
    "openai_responses/error.json": (f"{MIRASCOPE}/test_model_not_found/openai_gpt_4o_responses.yaml", 0),
    "openai_responses/plain.sse": (f"{OPENAI}/test_responses/test_responses_streaming_with_context_manager.yaml", 0),
    "openai_responses/plain.json": (f"{OPENAI}/test_responses/test_responses.yaml", 0),
    "openai_responses/tools.sse": (f"{LANGCHAIN_OPENAI}/test_codex_function_calling.yaml.gz", 0),
    "openai_responses/tools.json": (f"{OPENAI}/test_responses/test_responses_tool_calls.yaml", 0),
    "openai_responses/reasoning.sse": (f"{LANGCHAIN_OPENAI}/test_stream_encrypted_reasoning.yaml.gz", 0),
    "openai_responses/reasoning_summary.sse": (
        f"{LANGCHAIN_OPENAI}/TestChatOpenAICodexStandard.test_usage_metadata_streaming.yaml.gz",
        1,
    ),
    "openai_responses/reasoning.json": (f"{OPENAI}/test_responses/test_responses_reasoning.yaml", 0),
    "openai_responses/structured.sse": (
        f"{LANGCHAIN_OPENAI}/TestChatOpenAICodexStandard.test_structured_output[pydantic].yaml.gz",
        0,
    ),
    "openai_responses/structured.json": (f"{OPENAI}/test_responses/test_responses_parse.yaml", 0),
    "anthropic_messages/plain.sse": (f"{ANTHROPIC}/test_messages/test_anthropic_message_streaming_legacy.yaml", 0),
    "anthropic_messages/plain.json": (f"{ANTHROPIC}/test_messages/test_anthropic_message_create_legacy.yaml", 0),
    "anthropic_messages/error.json": (f"{MIRASCOPE}/test_model_not_found/anthropic_claude_sonnet_4_0.yaml", 0),
    "anthropic_messages/structured.json": (
        f"{ANTHROPIC}/test_structured_outputs/test_anthropic_structured_outputs_legacy.yaml",
        0,
    ),
    "anthropic_messages/tools.sse": (f"{ANTHROPIC}/test_messages/test_anthropic_tools_streaming_legacy.yaml", 0),
    "anthropic_messages/tools.json": (f"{ANTHROPIC}/test_messages/test_anthropic_tools_legacy.yaml", 0),
    "anthropic_messages/reasoning.sse": (f"{LANGCHAIN_ANTHROPIC}/test_thinking.yaml.gz", 1),
    "anthropic_messages/reasoning.json": (f"{LANGCHAIN_ANTHROPIC}/test_thinking.yaml.gz", 0),
    "anthropic_messages/reasoning_redacted.sse": (f"{LANGCHAIN_ANTHROPIC}/test_redacted_thinking.yaml.gz", 1),
}


_somebody = re.compile(rb'("(?:safety_identifier|prompt_cache_key)": ?")([^"]+)').sub


def replies(cassette: Path) -> list[bytes]:
    """The bodies of a cassette's replies, in any of the forms that vcr.py has had."""
    packed = cassette.read_bytes()
    found: dict[str, Any] = yaml.safe_load(gzip.decompress(packed) if cassette.suffix == ".gz" else packed)
    responses = found.get("responses") or [one["response"] for one in found["interactions"]]
    return [_body(response["body"]) for response in responses]


def _body(body: Any) -> bytes:
    if isinstance(body, dict):
        body = body.get("string") or body.get("base64_string")
    data: bytes = body.encode() if isinstance(body, str) else body
    if data.startswith(b"H4sI"):
        data = base64.b64decode(data)
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _nobodys(body: bytes) -> bytes:
    return _somebody(lambda found: found[1] + b"0" * len(found[2]), body)


def main(folder: str, *only: str) -> None:
    """*only* names folders or files of those above."""
    for name, (cassette, place) in CASSETTES.items():
        if not only or name.startswith(only):
            (HERE / name).parent.mkdir(exist_ok=True)
            (HERE / name).write_bytes(_nobodys(replies(Path(folder) / cassette)[place]))


if __name__ == "__main__":
    main(*sys.argv[1:])
