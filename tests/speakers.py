"""The official clients, each with a session: what is sent to it, and the reply as it streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from anthropic import Anthropic
from ollama import Client
from openai import OpenAI

Said = Sequence[tuple[str, str]]  # who, and what
Speaker = Callable[[str, str, str, Said], str]  # URL, session, model, what is sent: what was replied

TOKENS: Final = 24  # of a reply: a small model on a busy core says so much in a second or two
TIMEOUT_S: Final = 170
ANY_KEY: Final = "none"


def _messages(said: Said) -> Any:
    return [{"role": who, "content": text} for who, text in said]


def openai_chat(url: str, session: str, model: str, said: Said) -> str:
    with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        stream = client.chat.completions.create(
            model=model,
            messages=_messages(said),
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
            extra_body={"session": session},
        )
        return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def openai_responses(url: str, session: str, model: str, said: Said) -> str:
    with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        stream = client.responses.create(
            model=model,
            input=_messages(said),
            max_output_tokens=TOKENS,
            temperature=0,
            stream=True,
            extra_headers={"x-moltbot-session": session},
        )
        return "".join(event.delta for event in stream if event.type == "response.output_text.delta")


def anthropic_messages(url: str, session: str, model: str, said: Said) -> str:
    with (
        Anthropic(base_url=url, api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client,
        client.messages.stream(
            model=model,
            messages=_messages(said),
            max_tokens=TOKENS,
            extra_body={"temperature": 0, "session": session},
        ) as stream,
    ):
        return "".join(stream.text_stream)


def ollama_chat(url: str, session: str, model: str, said: Said) -> str:
    client = Client(host=url, headers={"x-moltbot-session": session}, timeout=TIMEOUT_S)
    with client._client:
        stream = client.chat(
            model,
            messages=_messages(said),
            options={"num_predict": TOKENS, "temperature": 0},
            stream=True,
        )
        return "".join(part.message.content or "" for part in stream)


# What these dialects have for it themselves; the session's name is the gateway's.


class Responses:
    """Goes on after the response that came last."""

    def __init__(self) -> None:
        self._last: str | None = None

    def __call__(self, url: str, session: str, model: str, said: Said) -> str:
        replied: list[str] = []
        with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
            for event in client.responses.create(
                model=model,
                input=said[-1][1],
                max_output_tokens=TOKENS,
                temperature=0,
                stream=True,
                store=True,
                previous_response_id=self._last,
            ):
                if event.type == "response.output_text.delta":
                    replied.append(event.delta)
                elif event.type in ("response.completed", "response.incomplete"):
                    self._last = event.response.id
        return "".join(replied)


class Completions:
    """Ollama's, each with the context that the last one gave."""

    def __init__(self) -> None:
        self._context: Sequence[int] = []

    def __call__(self, url: str, session: str, model: str, said: Said) -> str:
        client = Client(host=url, timeout=TIMEOUT_S)
        replied: list[str] = []
        with client._client:
            for part in client.generate(
                model,
                said[-1][1],
                context=self._context,
                options={"num_predict": TOKENS, "temperature": 0},
                stream=True,
            ):
                replied.append(part.response or "")
                self._context = part.context or self._context
        return "".join(replied)


EVERY_DIALECT: Final[dict[str, Speaker]] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic-messages": anthropic_messages,
    "ollama": ollama_chat,
}
