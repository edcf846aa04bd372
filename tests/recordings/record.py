"""Record what a real engine sends: `python record.py http://127.0.0.1:PORT`, run by hand when an engine changes.

Bodies are kept byte for byte, without the chunks they came in. A recording named ``cut`` is read no further than to
the middle of an event, as a line that breaks leaves it.

``tools`` want the engine with `--jinja --chat-template-file ../end_to_end/tools.jinja`, ``reasoning`` with
`thinking.jinja` of this folder and `--reasoning-format deepseek`.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CUT_BYTES = 1_000

WORDS = "Write two short lines about Zürich, with one emoji."
BOTH = "What is the weather in Paris and in Berlin?"
NAME, DESCRIPTION = "get_weather", "The weather of a city"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CAPITAL = {
    "type": "object",
    "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
    "required": ["country", "capital"],
    "additionalProperties": False,
}

QUESTION = {"messages": [{"role": "user", "content": WORDS}], "temperature": 0, "max_tokens": 24}
STREAM = {"stream": True}


def called(name: str, **arguments: str) -> dict[str, Any]:
    """A call in chat's shape."""
    return {"id": f"call_{name}", "type": "function", "function": {"name": NAME, "arguments": json.dumps(arguments)}}


# A small model calls two tools when it has just seen how.
CHAT_TOOLS = {
    "messages": [
        {"role": "user", "content": "What is the weather in Rome and in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [called("1", city="Rome"), called("2", city="Oslo")]},
        {"role": "user", "content": BOTH},
    ],
    "tools": [{"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": CITY}}],
    "parallel_tool_calls": True,
    "temperature": 0,
    "max_tokens": 90,
}
CHAT_STRUCTURED = {
    "messages": [{"role": "user", "content": "The capital of France"}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "capital", "schema": CAPITAL, "strict": True}},
    "temperature": 0,
    "max_tokens": 60,
}
RESPONSES_PLAIN = {"model": "chat", "input": WORDS, "temperature": 0, "max_output_tokens": 24}
RESPONSES_TOOLS = {
    "model": "chat",
    "input": [
        {"role": "user", "content": "What is the weather in Rome and in Oslo?"},
        {"type": "function_call", "call_id": "call_1", "name": NAME, "arguments": '{"city": "Rome"}'},
        {"type": "function_call", "call_id": "call_2", "name": NAME, "arguments": '{"city": "Oslo"}'},
        {"role": "user", "content": BOTH},
    ],
    "tools": [{"type": "function", "name": NAME, "description": DESCRIPTION, "parameters": CITY}],
    "parallel_tool_calls": True,
    "temperature": 0,
    "max_output_tokens": 90,
}
MESSAGES_PLAIN = {"model": "chat", **QUESTION}
MESSAGES_TOOLS = {
    "model": "chat",
    "messages": [
        {"role": "user", "content": "What is the weather in Rome and in Oslo?"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_1", "name": NAME, "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "toolu_2", "name": NAME, "input": {"city": "Oslo"}},
            ],
        },
        {"role": "user", "content": BOTH},
    ],
    "tools": [{"name": NAME, "description": DESCRIPTION, "input_schema": CITY}],
    "temperature": 0,
    "max_tokens": 90,
}
# And it thinks when it has just seen how.
THOUGHTS = [
    ("What is the capital of Italy?", "Italy is a country in Europe. Its capital is Rome.", "Rome."),
    ("What is the capital of Spain?", "Spain is a country in Europe. Its capital is Madrid.", "Madrid."),
]
ASKED = {"role": "user", "content": "What is the capital of France?"}
CHAT_REASONING = {
    "messages": [
        message
        for question, thought, answer in THOUGHTS
        for message in (
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer, "reasoning_content": thought},
        )
    ]
    + [ASKED],
    "temperature": 0,
    "max_tokens": 40,
}
RESPONSES_REASONING = {
    "model": "chat",
    "input": [
        item
        for question, thought, answer in THOUGHTS
        for item in (
            {"role": "user", "content": question},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": thought}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": answer}]},
        )
    ]
    + [ASKED],
    "temperature": 0,
    "max_output_tokens": 40,
}
MESSAGES_REASONING = {
    "model": "chat",
    "messages": [
        message
        for question, thought, answer in THOUGHTS
        for message in (
            {"role": "user", "content": question},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": thought, "signature": ""},
                    {"type": "text", "text": answer},
                ],
            },
        )
    ]
    + [ASKED],
    "temperature": 0,
    "max_tokens": 40,
}
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"

RECORDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat/chat.sse": (CHAT, QUESTION | STREAM | {"stream_options": {"include_usage": True}}),
    "openai_chat/chat_without_usage.sse": (CHAT, QUESTION | STREAM),
    "openai_chat/chat.json": (CHAT, QUESTION),
    "openai_chat/completion.sse": (
        "/v1/completions",
        {"prompt": "One, two,", "temperature": 0, "max_tokens": 8, "stream": True},
    ),
    "openai_chat/tools_llama_server.sse": (CHAT, CHAT_TOOLS | STREAM),
    "openai_chat/tools_llama_server.json": (CHAT, CHAT_TOOLS),
    "openai_chat/structured_llama_server.sse": (CHAT, CHAT_STRUCTURED | STREAM),
    "openai_chat/error_llama_server.json": (CHAT, {"messages": [{"role": "user", "content": [{"type": "bogus"}]}]}),
    "openai_chat/cut_llama_server.sse": (CHAT, QUESTION | STREAM),
    "openai_chat/reasoning_llama_server.sse": (CHAT, CHAT_REASONING | STREAM),
    "openai_chat/reasoning_llama_server.json": (CHAT, CHAT_REASONING),
    "openai_responses/reasoning_llama_server.sse": (RESPONSES, RESPONSES_REASONING | STREAM),
    "openai_responses/reasoning_llama_server.json": (RESPONSES, RESPONSES_REASONING),
    "openai_responses/plain_llama_server.sse": (RESPONSES, RESPONSES_PLAIN | STREAM),
    "openai_responses/plain_llama_server.json": (RESPONSES, RESPONSES_PLAIN),
    "openai_responses/tools_llama_server.sse": (RESPONSES, RESPONSES_TOOLS | STREAM),
    "openai_responses/tools_llama_server.json": (RESPONSES, RESPONSES_TOOLS),
    "openai_responses/cut_llama_server.sse": (RESPONSES, RESPONSES_PLAIN | STREAM),
    "openai_responses/error_llama_server.json": (RESPONSES, {"input": [{"role": "user", "content": [{"type": "no"}]}]}),
    "anthropic_messages/reasoning_llama_server.sse": (MESSAGES, MESSAGES_REASONING | STREAM),
    "anthropic_messages/reasoning_llama_server.json": (MESSAGES, MESSAGES_REASONING),
    "anthropic_messages/plain_llama_server.sse": (MESSAGES, MESSAGES_PLAIN | STREAM),
    "anthropic_messages/plain_llama_server.json": (MESSAGES, MESSAGES_PLAIN),
    "anthropic_messages/tools_llama_server.sse": (MESSAGES, MESSAGES_TOOLS | STREAM),
    "anthropic_messages/tools_llama_server.json": (MESSAGES, MESSAGES_TOOLS),
    "anthropic_messages/cut_llama_server.sse": (MESSAGES, MESSAGES_PLAIN | STREAM),
    "anthropic_messages/error_llama_server.json": (MESSAGES, {"messages": [{"role": "user", "content": 1}]}),
}


def main(base: str, *only: str) -> None:
    """*only* names folders or files of those above."""
    for name, (path, body) in RECORDINGS.items():
        if only and not name.startswith(only):
            continue
        (FOLDER / name).parent.mkdir(exist_ok=True)
        asked = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked) as reply:
                data = reply.read(CUT_BYTES) if "/cut" in name else reply.read()
        except urllib.error.HTTPError as error:
            data = error.read()
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
