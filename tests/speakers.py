"""The official clients, each as somebody who keeps no history: one message to a session, the reply as it streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from anthropic import Anthropic
from ollama import Client
from openai import OpenAI

Speaker = Callable[[str, str, str, str], str]  # URL, session, model, message: what was said

TOKENS: Final = 24  # of a reply: a small model on a busy core says so much in a second or two
TIMEOUT_S: Final = 170
ANY_KEY: Final = "none"


def openai_chat(url: str, session: str, model: str, text: str) -> str:
    with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": text}],
            max_tokens=TOKENS,
            temperature=0,
            stream=True,
            extra_body={"session": session},
        )
        return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def openai_responses(url: str, session: str, model: str, text: str) -> str:
    with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        stream = client.responses.create(
            model=model,
            input=text,
            max_output_tokens=TOKENS,
            temperature=0,
            stream=True,
            extra_headers={"x-moltbot-session": session},
        )
        return "".join(event.delta for event in stream if event.type == "response.output_text.delta")


def anthropic_messages(url: str, session: str, model: str, text: str) -> str:
    with (
        Anthropic(base_url=url, api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client,
        client.messages.stream(
            model=model,
            messages=[{"role": "user", "content": text}],
            max_tokens=TOKENS,
            extra_body={"temperature": 0, "session": session},
        ) as stream,
    ):
        return "".join(stream.text_stream)


def ollama_chat(url: str, session: str, model: str, text: str) -> str:
    client = Client(host=url, headers={"x-moltbot-session": session}, timeout=TIMEOUT_S)
    with client._client:
        stream = client.chat(
            model,
            messages=[{"role": "user", "content": text}],
            options={"num_predict": TOKENS, "temperature": 0},
            stream=True,
        )
        return "".join(part.message.content or "" for part in stream)


# What these dialects have for it themselves; the session's name is the gateway's.


class Responses:
    """Goes on after the response that came last."""

    def __init__(self) -> None:
        self._last: str | None = None

    def __call__(self, url: str, session: str, model: str, text: str) -> str:
        said: list[str] = []
        with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
            for event in client.responses.create(
                model=model,
                input=text,
                max_output_tokens=TOKENS,
                temperature=0,
                stream=True,
                store=True,
                previous_response_id=self._last,
            ):
                if event.type == "response.output_text.delta":
                    said.append(event.delta)
                elif event.type in ("response.completed", "response.incomplete"):
                    self._last = event.response.id
        return "".join(said)


class Completions:
    """Ollama's, each with the context that the last one gave."""

    def __init__(self) -> None:
        self._context: Sequence[int] = []

    def __call__(self, url: str, session: str, model: str, text: str) -> str:
        client = Client(host=url, timeout=TIMEOUT_S)
        said: list[str] = []
        with client._client:
            for part in client.generate(
                model, text, context=self._context, options={"num_predict": TOKENS, "temperature": 0}, stream=True
            ):
                said.append(part.response or "")
                self._context = part.context or self._context
        return "".join(said)


EVERY_DIALECT: Final[dict[str, Speaker]] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic-messages": anthropic_messages,
    "ollama": ollama_chat,
}
