"""The configuration: every section, field, unit and default. Values only; `load` fills them, `check` explains them.

Every limit has its unit in its name and its reason beside it, as ``Meta(description=...)`` where an editor should
show it. ``extra`` is for `decode`: *expected* words a pattern for people, *holds* says what a text stands for.
"""

# Annotations are evaluated here: as texts, msgspec would compile each of the 150 twice, 6 ms of every start.

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

KIB = 1024
MIB = 1024 * KIB

Port = Annotated[int, Meta(ge=0, le=65535, description="0 lets the system choose")]
Seconds = Annotated[float, Meta(gt=0)]
Bytes = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(gt=0, description="share of the requests among deployments of one name")]
Price = Annotated[float, Meta(ge=0)]
# Relative to the file that says so: a service's working directory is nobody's choice.
PathText = Annotated[str, Meta(min_length=1, extra={"holds": "path"})]
# A name to be found on PATH, or a path.
Program = Annotated[str, Meta(min_length=1, extra={"holds": "program"})]
# May be `file:PATH`, and is never shown.
Secret = Annotated[str, Meta(min_length=1, extra={"holds": "secret"})]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^/\s]+",
        examples=["http://box:11434"],
        extra={"expected": "a URL such as http://box:11434"},
    ),
]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every part of the file shares: unknown fields are errors, because they are mostly slips of the pen."""


class Tls(Section, frozen=True):
    """HTTPS for callers."""

    cert: Annotated[PathText, Meta(description="path of a PEM file: the certificate, then its chain")]
    key: Annotated[PathText, Meta(description="path of a PEM file: the private key")]


class Server(Section, frozen=True):
    """Where callers find the gateway."""

    host: Annotated[str, Meta(min_length=1, description="address to listen on; off loopback `keys` are required")] = (
        "127.0.0.1"
    )
    port: Port = 8080
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tls: Tls | None = None


class Model(Section, frozen=True):
    """One deployment: *endpoint* (another machine), or *file* (a GGUF file, an engine on this board), or *command*."""

    name: Annotated[str, Meta(min_length=1, description="the alias; repeat it and one alias has several deployments")]
    endpoint: Annotated[Url, Meta(description="base URL, with or without /v1")] | None = None
    file: Annotated[str, Meta(min_length=1, description="a GGUF file, absolute or below `model_store`")] | None = None
    type: Annotated[str, Meta(description="the upstream's dialect; auto: found out")] = "auto"
    model: Annotated[str, Meta(min_length=1, description="the upstream's own name, where it differs")] | None = None
    api_key: Annotated[Secret, Meta(description="text, ${VARIABLE} or file:PATH")] | None = None
    headers: Annotated[
        dict[str, Secret],
        Meta(description="sent with every request to this upstream; a value may be ${VARIABLE} or file:PATH"),
    ] = field(default_factory=dict)
    ca_file: (
        Annotated[
            PathText,
            Meta(description="path of a PEM file: certificates trusted for this upstream, in place of the system's"),
        ]
        | None
    ) = None
    weight: Weight = 1.0
    context_tokens: Annotated[Count, Meta(description="longer prompts go to another deployment")] | None = None
    tools: Annotated[bool, Meta(description="whether it takes tool calls; not said: it is tried")] | None = None
    images: Annotated[bool, Meta(description="whether it takes images; not said: it is tried")] | None = None
    private: Annotated[bool, Meta(description="never hedged or failed over off the LAN")] = False
    price_input_per_mtok: Annotated[
        Price, Meta(description="of a million tokens of a prompt, in the same money for all models; for `cheapest`")
    ] = 0.0
    price_output_per_mtok: Annotated[Price, Meta(description="of a million tokens of a reply")] = 0.0
    engine_args: Annotated[
        list[str], Meta(description="llama-server flags of this model, in place of the profile's")
    ] = field(default_factory=list)
    command: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="another program on this board that serves it: words with {port}, and {model} for `file`",
                examples=["whisper-server --port {port} --model {model}"],
            ),
        ]
        | None
    ) = None
    health: Annotated[
        str, Meta(pattern=r"^/[\x21-\x7e]*$", description="path that answers with 200 once `command` is ready")
    ] = "/health"
    pin: Annotated[bool, Meta(description="its engine starts with the gateway and makes room for no other")] = False
    ttl_s: (
        Annotated[Seconds, Meta(description="its engine ends after so long without a request, not after engines.ttl_s")]
        | None
    ) = None
    memory_mb: (
        Annotated[Count, Meta(description="what its engine takes, in MiB, where the prediction is wrong")] | None
    ) = None


class Alias(Section, frozen=True):
    """One name for several models. *options* go to the policy, which says what it takes."""

    models: Annotated[list[str], Meta(min_length=1, description="names of model_registry")]
    policy: Annotated[str, Meta(description="what puts the models in order; router.policy when left out")] | None = None
    options: Annotated[dict[str, Any], Meta(description="the policy's own fields")] = field(default_factory=dict)
    leave_lan: Annotated[
        bool,
        Meta(description="what is meant for a private model may go to another off the LAN, when it fails or is late"),
    ] = False


class Hedge(Section, frozen=True):
    """A second machine is asked when the first is late."""

    after_s: Annotated[
        Seconds,
        Meta(description="a first token predicted later is not waited for where another machine's comes sooner"),
    ] = 2.0
    # Dean and Barroso, "The Tail at Scale": a few percent more requests take most of the tail away.
    share: Annotated[float, Meta(gt=0, le=1, description="extra requests at most, of all")] = 0.05


class Router(Section, frozen=True):
    """How a deployment is chosen where an alias does not say."""

    policy: Annotated[str, Meta(description="what puts deployments in order; MODEL_ROUTER in the environment")] = (
        "fastest"
    )
    # The first and two more: a third box rarely knows what two did not, and the caller is waiting.
    attempts: Annotated[int, Meta(ge=1, le=10, description="deployments asked for one request, the first included")] = 3
    fallbacks: Annotated[
        dict[str, list[str]], Meta(description="names to ask for when every deployment of a name has failed, in order")
    ] = field(default_factory=dict)
    context_fallbacks: Annotated[
        dict[str, list[str]], Meta(description="names to ask for when a prompt is too long for a name, in order")
    ] = field(default_factory=dict)
    # A restart takes a service some seconds; so often, a question without a model costs nothing.
    probe_s: Annotated[
        Seconds, Meta(description="a machine that failed is asked so often whether it is back, not by callers")
    ] = 5.0
    probe_silent_s: (
        Annotated[Seconds, Meta(description="a machine that answered nobody for so long is asked whether it is there")]
        | None
    ) = None
    # As Finagle's budget: enough for a box that dies under load, too little for a storm when all are down.
    retry_share: Annotated[
        float, Meta(ge=0, le=1, description="requests asked again after a failure, at most, of all requests")
    ] = 0.2
    retries_per_s: Annotated[float, Meta(ge=0, description="and so many a second, however few requests there are")] = (
        10.0
    )
    retry_for_s: Annotated[
        float,
        Meta(ge=0, description="from a request's beginning, the same machine is asked again: it may just restart"),
    ] = 2.0
    # Off until somebody wishes it: an extra request costs a cloud's money, or a board's whole attention.
    hedge: (
        Annotated[Hedge, Meta(description="a second machine is asked when the first is late; never without")] | None
    ) = None
    experience: (
        Annotated[PathText, Meta(description="file where policies that learn keep their counts; none: until the end")]
        | None
    ) = None
    # Some 600 bytes each. A thumb comes within minutes, or not at all.
    recent_exchanges: Annotated[
        Count, Meta(description="exchanges that feedback can name, of aliases whose policy learns")
    ] = 1000


class Engines(Section, frozen=True):
    """Local model processes, as many as fit into one memory budget."""

    memory_mb: (
        Annotated[
            Count,
            Meta(description="what all engines may take together, in MiB; left out: what is free but a reserve"),
        ]
        | None
    ) = None
    # Page cache for the files being loaded, the gateway, whoever logs in.
    reserve_percent: Annotated[
        float,
        Meta(ge=0, le=90, description="of what is free at the start, what stays free where memory_mb is left out"),
    ] = 20.0
    ttl_s: (
        Annotated[
            Seconds, Meta(description="an engine ends after so long without a request; left out: when room is needed")
        ]
        | None
    ) = None
    # Loading costs a board seconds to minutes: two callers that alternate shall not pay it at every request.
    min_warm_s: Annotated[float, Meta(ge=0, description="an engine that has loaded stays at least so long")] = 5.0
    max_wait_s: Annotated[
        float, Meta(ge=0, description="who has waited so long for a model is next, whatever the others want")
    ] = 30.0
    # At half a minute each the last of them has waited as long as anybody would.
    queue: Annotated[Count, Meta(description="requests that wait for one engine; more get 503")] = 64
    queue_s: Annotated[
        Seconds, Meta(description="how long each of them waits, its model's load included, then 503")
    ] = 1800.0
    # A batch of 128 tokens takes a Pi 4 eleven seconds, and it answers nothing meanwhile.
    stuck_s: Annotated[
        Seconds, Meta(description="an engine that goes on for so long with what nobody waits for is started anew")
    ] = 60.0
    command: Annotated[Program, Meta(description="llama-server, by name or path")] = "llama-server"
    args: Annotated[list[str], Meta(description="flags of every engine, in place of the profile's")] = field(
        default_factory=list
    )
    # KV of a 1B model at q8_0: 68 MiB; an edge board holds that beside the weights.
    context_tokens: Annotated[Count, Meta(description="context of an engine, or its model's if that is less")] = 4096
    start_s: Annotated[
        Seconds, Meta(description="for a model to load; 5 GB from an SD card at 43 MB/s take two minutes")
    ] = 600.0
    stop_s: Annotated[Seconds, Meta(description="from SIGTERM to SIGKILL")] = 5.0
    kv_path: (
        Annotated[
            PathText,
            Meta(description="folder where caches of conversations outlive their engine; left out: below /var/cache"),
        ]
        | None
    ) = None
    # Some fifteen conversations of 2,000 tokens with a 1B model.
    kv_disk_mb: Annotated[
        int, Meta(ge=0, description="what saved caches may take, in MiB; the least worth leaves; 0 keeps none")
    ] = 1024
    # A card bears some 10 TB, which at 2 GiB a day is thirteen years.
    kv_write_mb_per_day: Annotated[
        int, Meta(ge=0, description="of caches written within a day, in MiB: what a card can bear for years")
    ] = 2048


class Prompt(Section, frozen=True):
    """What is done to a prompt on its way to an engine of this board."""

    stabilise: Annotated[
        bool | list[str],
        Meta(
            description="move clocks and ids from the system prompt to the last question, so that an engine does not"
            " read all again; true, or the names in model_registry for which"
        ),
    ] = False


class Sessions(Section, frozen=True):
    """Conversations kept in the gateway."""

    store: Annotated[str, Meta(description="where they are kept: disk, redis, memory, or a plug-in's")] = "disk"
    path: Annotated[
        PathText, Meta(description="folder of the disk store; not said: this one, or one in the home of its user")
    ] = "/var/lib/moltbot/sessions"
    url: Annotated[
        Secret,
        Meta(description="the redis store's server, whose password may be ${VARIABLE}; the whole may be file:PATH"),
    ] = "redis://127.0.0.1:6379/0"
    timeout_s: Annotated[
        Seconds, Meta(description="a session unused for so long is dropped; SESSION_TIMEOUT in the environment")
    ] = 3600.0
    # A quarter of a million turns of 1 KiB; a card has room for it, and a log of it is copied in a minute.
    size_mb: Annotated[
        Count,
        Meta(description="what all may take in the store, in MiB; the longest idle leave. Not of redis: maxmemory"),
    ] = 256
    # Every turn reads all of its session: a Pi's card takes a second for so much.
    session_mb: Annotated[Count, Meta(description="what one may take in memory, in MiB; more is refused")] = 16
    keep_responses: Annotated[
        bool, Meta(description="keep what callers of OpenAI's Responses do not forbid; false: only with store: true")
    ] = True
    # Of a session, what it takes in memory, its JSON for the router and for the upstream, and that on its way.
    at_work_mb: Annotated[
        Count, Meta(description="what those at work may take in memory together, in MiB, one more than fits included")
    ] = 32
    busy: Annotated[
        Literal["wait", "refuse"], Meta(description="what a second request for a session at work does; refuse: 409")
    ] = "wait"
    wait_s: Annotated[Seconds, Meta(description="how long it waits, then 409")] = 600.0
    # A chat that falls silent because of a card is worse than one that says what it could not see.
    unreadable: Annotated[
        Literal["answer", "refuse"],
        Meta(
            description="a request for a session that its store cannot read is answered without what is kept, as"
            " x-moltbot-dropped then says, and kept behind it later; refuse: 503"
        ),
    ] = "answer"
    waiters: Annotated[Count, Meta(description="requests that wait so; more get 503")] = 64
    summary_model: (
        Annotated[str, Meta(description="sums up what a model's context has no room for; not said: it is left out")]
        | None
    ) = None
    # A 1B model on a Pi 4 writes them in a minute.
    summary_tokens: Annotated[Count, Meta(description="of a summary at most, and an eighth of the context")] = 256
    # With the summary it fits into the context of an engine of this board, where nothing else is said.
    summary_prompt_tokens: Annotated[
        Count, Meta(description="of what is left out, which summary_model reads for it; the latest")
    ] = 3072
    # A caller waits for it, with pings; a Pi 4 reads 3,000 tokens with a 0.5B model in 110 s.
    summary_s: Annotated[Seconds, Meta(description="for a summary to be made; then without one")] = 180.0


class Tool(Section, frozen=True, forbid_unknown_fields=False):
    """A tool's own fields belong to its type; only *type* is common to all."""

    type: str


class Limits(Section, frozen=True):
    """What one gateway takes at most. What does not fit is refused with a clear error, and never grows the process."""

    body_bytes: Annotated[Bytes, Meta(description="one request body; a dozen photographs in base64")] = 32 * MIB
    # With 1,500 connections' own buffers and the interpreter this keeps the process under 96 MB;
    # a larger machine can afford more.
    bodies_bytes: Annotated[Bytes, Meta(description="all request bodies in memory together")] = 32 * MIB
    body_wait_s: Annotated[Seconds, Meta(description="for room among bodies_bytes, then 503")] = 30.0
    body_waiters: Annotated[
        Count, Meta(description="connections that wait for room; each holds one small read, 4 KiB")
    ] = 2048
    queue: Annotated[Count, Meta(description="requests waiting for a connection to one upstream")] = 256
    queue_s: Annotated[Seconds, Meta(description="how long each of them waits, then 503")] = 60.0
    connections: Annotated[Count, Meta(description="to one upstream")] = 256
    idle_connections: Annotated[Count, Meta(description="kept open to one upstream")] = 32
    # Shorter than nginx's 75 s, uvicorn's 5 s is learned from its closing.
    idle_connection_s: Annotated[Seconds, Meta(description="an idle connection to an upstream is closed after")] = 55.0
    head_s: Annotated[
        Seconds, Meta(description="for a request's head and body to arrive; no half-open connection stays longer")
    ] = 30.0
    connect_s: Annotated[
        Seconds,
        Meta(description="to connect to an upstream; a LAN needs milliseconds, a sleeping Wi-Fi a second or two"),
    ] = 5.0
    first_byte_s: Annotated[
        Seconds, Meta(description="until an upstream's first byte; a Pi 4 reads a 2,000-token prompt for three minutes")
    ] = 900.0
    between_bytes_s: Annotated[
        Seconds, Meta(description="between two bytes of a reply; a model that thinks sends nothing for a while")
    ] = 300.0
    total_s: Annotated[Seconds, Meta(description="one exchange from its beginning to its end")] = 3600.0
    ping_after_s: Annotated[Seconds, Meta(description="silence on a stream before a comment keeps it open")] = 5.0
    callers: Annotated[Count, Meta(description="connections of callers; more are refused with 503")] = 4096
    client_stall_s: Annotated[Seconds, Meta(description="a caller that reads nothing for so long has gone")] = 300.0
    reply_hold_bytes: Annotated[
        Bytes, Meta(description="a whole reply up to this is checked before its first byte goes out")
    ] = 64 * KIB
    event_bytes: Annotated[Bytes, Meta(description="one event of a stream")] = 1 * MIB
    # A hundred embeddings of 4,096 numbers as JSON; a chat has a thousandth of it.
    translated_bytes: Annotated[
        Bytes, Meta(description="a whole reply that has to be written in another dialect, and so is held")
    ] = 8 * MIB


class Key(Section, frozen=True):
    """Who may call. Only the hash is kept; `moltbot-edge keys new NAME` prints the secret once."""

    name: Annotated[str, Meta(min_length=1, description="whose it is, for the log")]
    hash: Annotated[str, Meta(description="sha256:HEX, the line that `moltbot-edge keys new NAME` prints")]
    models: Annotated[list[str], Meta(description="aliases that it may use; all of them when left out")] | None = None
    admin: Annotated[bool, Meta(description="may see and change what /admin shows, and everybody's sessions")] = False


class Plugins(Section, frozen=True):
    """Python files of your own."""

    folder: Annotated[PathText, Meta(description="each .py file in it is one plug-in")] | None = None


class Config(Section, frozen=True):
    """moltbot-edge: one address on the LAN for every language model in reach."""

    server: Server = Server()
    model_store: Annotated[PathText, Meta(description="folder of GGUF files")] = "/var/lib/moltbot/models"
    model_registry: Annotated[
        list[Model], Meta(description="deployments; repeat a name and it is one alias with several")
    ] = field(default_factory=list)
    aliases: Annotated[
        dict[str, str | Alias], Meta(description="more names for models, or one name for several of them")
    ] = field(default_factory=dict)
    router: Router = Router()
    engines: Engines = Engines()
    prompt: Prompt = Prompt()
    sessions: Sessions = Sessions()
    tool_integration: Annotated[dict[str, Tool], Meta(description="tools by name")] = field(default_factory=dict)
    limits: Limits = Limits()
    keys: Annotated[list[Key], Meta(description="who may call; none are needed on loopback")] = field(
        default_factory=list
    )
    plugins: Plugins = Plugins()
