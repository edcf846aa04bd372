"""The configuration: every section, field, unit and default. Values only; `load` fills them, `check` explains them.

Every limit has its unit in its name and its reason beside it. A field's docstring-like comment is what
`moltbot-edge check --schema` tells an editor, through ``Meta(description=...)``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

KIB = 1024
MIB = 1024 * KIB

Port = Annotated[int, Meta(ge=0, le=65535, description="0 lets the system choose")]
Seconds = Annotated[float, Meta(gt=0)]
Bytes = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every part of the file shares: unknown fields are errors, because they are mostly slips of the pen."""


class Tls(Section):
    cert: Annotated[str, Meta(description="path of a PEM file: the certificate, then its chain")]
    key: Annotated[str, Meta(description="path of a PEM file: the private key")]


class Server(Section):
    host: Annotated[str, Meta(description="address to listen on; off loopback `keys` are required")] = "127.0.0.1"
    port: Port = 8080
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tls: Tls | None = None


class Model(Section):
    """One deployment. Either *endpoint* (another machine) or *file* (a GGUF file, an engine on this board)."""

    name: Annotated[str, Meta(min_length=1, description="the alias; repeat it and one alias has several deployments")]
    endpoint: Annotated[str, Meta(pattern=r"^https?://[^/\s]+", description="base URL, with or without /v1")] | None = (
        None
    )
    file: Annotated[str, Meta(min_length=1, description="a GGUF file, absolute or below `model_store`")] | None = None
    type: Annotated[str, Meta(description="the upstream's dialect; auto: found out")] = "auto"
    model: Annotated[str, Meta(min_length=1, description="the upstream's own name, where it differs")] | None = None
    api_key: Annotated[str, Meta(description="a secret, ${VARIABLE} or file:PATH")] | None = None
    headers: Annotated[dict[str, str], Meta(description="sent with every request to this upstream")] = field(
        default_factory=dict
    )
    weight: Weight = 1.0
    context_tokens: Count | None = None
    private: Annotated[bool, Meta(description="never hedged or failed over off the LAN")] = False
    engine_args: Annotated[list[str], Meta(description="llama-server flags of this model, after the profile's")] = (
        field(default_factory=list)
    )


class Alias(Section):
    """*options* go to the policy, which says what it takes."""

    models: Annotated[list[str], Meta(min_length=1)]
    policy: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Router(Section):
    policy: str = "weighted"
    # The first and two more: a third box rarely knows what two did not, and the caller is waiting.
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3


class Engines(Section):
    """Local model processes. *memory_mb* and swapping are enforced by the placement of engines."""

    memory_mb: Count | None = None
    command: Annotated[str, Meta(min_length=1, description="llama-server, by name or path")] = "llama-server"
    args: Annotated[list[str], Meta(description="flags of every engine, after the profile's")] = field(
        default_factory=list
    )
    context_tokens: Count = 4096  # KV of a 1B model at q8_0: 68 MiB; an edge board holds that beside the weights
    start_s: Seconds = 600.0  # a 5 GB file from an SD card at 43 MB/s takes two minutes on an idle board
    stop_s: Seconds = 5.0  # from SIGTERM to SIGKILL


class Sessions(Section):
    store: str = "disk"
    path: str = "/var/lib/moltbot/sessions"
    timeout_s: Seconds = 3600.0


class Tool(Section, forbid_unknown_fields=False):
    """A tool's own fields belong to its type; only *type* is common to all."""

    type: str


class Limits(Section):
    body_bytes: Bytes = 32 * MIB  # a dozen photographs in base64
    # All request bodies in memory together. With 1,500 connections' own buffers and the interpreter
    # this keeps the process under 96 MB; a larger machine can afford more.
    bodies_bytes: Bytes = 32 * MIB
    body_wait_s: Seconds = 30.0  # for room among them, then 503
    body_waiters: Count = 2048  # connections that wait for room; each holds one read buffer, 16 KiB
    queue: Count = 256  # requests waiting for a connection to one upstream
    queue_s: Seconds = 60.0
    connections: Count = 256  # to one upstream
    idle_connections: Count = 32  # kept open to one upstream
    # Shorter than nginx's 75 s, uvicorn's 5 s is learned from its closing.
    idle_connection_s: Seconds = 55.0
    head_s: Seconds = 30.0  # for a request's head and body to arrive: no half-open connection stays
    connect_s: Seconds = 5.0  # a LAN answers in milliseconds; a sleeping Wi-Fi in a second or two
    first_byte_s: Seconds = 900.0  # a Pi 4 reads a 2,000-token prompt for three minutes
    between_bytes_s: Seconds = 300.0  # a model that thinks sends nothing for a while
    total_s: Seconds = 3600.0
    ping_after_s: Seconds = 5.0  # silence on a stream before a comment keeps it open
    client_stall_s: Seconds = 300.0  # a caller that reads nothing for so long has gone
    reply_hold_bytes: Bytes = 64 * KIB  # a whole reply up to this is checked before its first byte goes out
    event_bytes: Bytes = 1 * MIB  # one event of a stream


class Key(Section):
    name: Annotated[str, Meta(min_length=1)]
    hash: Annotated[str, Meta(description="sha256:HEX, the line that `moltbot-edge keys new NAME` prints")]
    models: Annotated[list[str], Meta(description="aliases that it may use")] | None = None


class Plugins(Section):
    folder: str | None = None


class Config(Section):
    server: Server = Server()
    model_store: str = "/var/lib/moltbot/models"
    model_registry: list[Model] = field(default_factory=list)
    aliases: dict[str, str | Alias] = field(default_factory=dict)
    router: Router = Router()
    engines: Engines = Engines()
    sessions: Sessions = Sessions()
    tool_integration: dict[str, Tool] = field(default_factory=dict)
    limits: Limits = Limits()
    keys: list[Key] = field(default_factory=list)
    plugins: Plugins = Plugins()
