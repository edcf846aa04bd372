"""A machine beside the board that calls its gateway, with a key as the network needs one.

`configuration` is what the gateway is started with: open to the network, one key, one upstream on another machine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Final

from .emulator import HOST_IN_GUEST, SERVED_PORT
from .engine import CONFIGURATION, MODEL_NAME, REGISTRY
from .upstream import MODEL, SENTENCE
from .verdict import Failed, Log

REQUEST_S: Final = 60.0  # an emulated core is some twenty times slower than this one
AGAIN_S: Final = 0.2
WORDS: Final = 8  # of an emulated model: enough to see that it is one


class NoAnswer(Failed):
    """Nobody listened, or the connection ended too soon."""


def _secret() -> str:
    return "sk-moltbot-" + secrets.token_urlsafe(32)  # as `moltbot-edge keys new` makes them


@dataclass(frozen=True)
class Caller:
    secret: str = field(default_factory=_secret, repr=False)

    def asks(self, port: int, log: Log, limit_s: float) -> None:
        """All that is asked of a board that serves. Raises `Failed`."""
        answer_s = self.asks_for_health(port, limit_s)
        log.say(f"200 on /health from this machine, in {answer_s:.3f} s")
        self.is_turned_away_without_its_key(port)
        for stream in (False, True):
            self.asks_for_the_sentence(port, stream=stream)
        log.say("401 without a key; a chat request and a stream went through the board to this machine and back")

    def asks_for_health(self, port: int, limit_s: float) -> float:
        """Seconds that the answer took, once there was one. Raises `Failed` when there is none in *limit_s*."""
        deadline = time.monotonic() + limit_s
        trouble = "nothing answered"
        while time.monotonic() < deadline:
            begun = time.monotonic()
            try:
                status, body = self._request(port, "GET", "/health")
                if status == 200:
                    return time.monotonic() - begun
                trouble = f"it was answered {status}: {body[:200]!r}"
            except NoAnswer as error:
                trouble = str(error)
            time.sleep(AGAIN_S)
        raise Failed(f"/health gave the host no 200 within {limit_s:.0f} s: {trouble}")

    def is_turned_away_without_its_key(self, port: int) -> None:
        status, body = self._request(port, "POST", "/v1/chat/completions", _question(stream=False))
        if status != 401:
            raise Failed(f"a chat request without a key was answered {status}: {body[:200]!r}")

    def asks_for_the_sentence(self, port: int, *, stream: bool) -> None:
        """One chat request, through the guest to the upstream here and back. Raises `Failed`."""
        what = "a streamed chat request" if stream else "a chat request"
        status, body = self._request(port, "POST", "/v1/chat/completions", _question(stream), self.secret)
        if status != 200:
            raise Failed(f"{what} was answered {status}: {body[:300]!r}")
        if (said := streamed(body) if stream else whole(body)) != SENTENCE:
            raise Failed(f"{what} brought {said!r}, and not {SENTENCE!r}")

    def asks_the_engine(self, port: int, limit_s: float) -> tuple[str, float]:
        """What the model on the board says, and in how many seconds: its engine is started for it. Raises `Failed`."""
        begun = time.monotonic()
        question = _question(stream=False, model=MODEL_NAME)
        status, body = self._request(port, "POST", "/v1/chat/completions", question, self.secret, limit_s)
        if status != 200 or not (said := whole(body)).strip():
            raise Failed(f"the engine was asked, and answered {status}: {body[:300]!r}")
        return said, time.monotonic() - begun

    def _request(
        self, port: int, method: str, path: str, body: bytes | None = None, secret: str = "", limit_s: float = REQUEST_S
    ) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=limit_s)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            if secret:
                headers["Authorization"] = f"Bearer {secret}"
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{method} {path} had no answer: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()


def configuration(secret: str, upstream_port: int, upstream_host: str = HOST_IN_GUEST, engine: bool = False) -> str:
    """``moltbot.yaml`` of a gateway on the board, which sees this machine as *upstream_host*."""
    key = hashlib.sha256(secret.encode()).hexdigest()
    return f"""\
server: {{host: 0.0.0.0, port: {SERVED_PORT}}}
model_registry:
  - name: {MODEL}
    endpoint: http://{upstream_host}:{upstream_port}/v1
    type: openai-chat
{REGISTRY if engine else ""}keys:
  - {{name: host, hash: "sha256:{key}"}}
{CONFIGURATION if engine else ""}"""


def _question(stream: bool, model: str = MODEL) -> bytes:
    messages = [{"role": "user", "content": "Who answers?"}]
    asked = {"model": model, "stream": stream, "max_tokens": WORDS, "temperature": 0, "messages": messages}
    return json.dumps(asked).encode()


def whole(body: bytes) -> str:
    try:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError) as error:
        raise Failed(f"this is no chat completion: {body[:300]!r}") from error


def streamed(body: bytes) -> str:
    """The text of a stream that ended as it should."""
    events = [line.removeprefix("data:").strip() for line in body.decode().splitlines() if line.startswith("data:")]
    if not events or events[-1] != "[DONE]":
        raise Failed(f"this is no whole stream: {body[-300:]!r}")
    try:
        deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    except (ValueError, LookupError, TypeError) as error:
        raise Failed(f"this is no stream of a chat completion: {body[:300]!r}") from error
    return "".join(delta.get("content") or "" for delta in deltas)
