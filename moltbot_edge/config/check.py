"""What no single field can know: names that must meet, files that must be there, an address that needs a key.

One rule is one function of the decoded configuration. A rule keeps silent about what did not decode: one slip of
the pen is one problem.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Final
from urllib.parse import urlsplit

import msgspec

from moltbot_edge.config.decode import Decoded
from moltbot_edge.config.known import Known
from moltbot_edge.config.problem import ConfigError, Path, Problem, problem, unknown
from moltbot_edge.config.schema import Alias, Model
from moltbot_edge.config.session_rules import of_another_store, sessions
from moltbot_edge.core.catalog import AUTO, WILD, named
from moltbot_edge.network.certificates import NoCertificates, trusted_in
from moltbot_edge.network.names import is_localhost

__all__ = ["ConfigError", "Problem", "check", "is_loopback"]

# Read, so that a file may be written once, and without effect until the part exists.
WITHOUT_EFFECT: Final[dict[Path, str]] = {
    ("tool_integration",): "this version runs no tools yet",
}

Found = Iterator[tuple[Path, str]]


def check(decoded: Decoded, known: Known, stores: Sequence[FilePath]) -> list[Problem]:
    """Errors, then warnings. *stores* are the folders where a model's file may be."""
    known = msgspec.structs.replace(known, models=_served(decoded, known, stores))
    errors = [found for rule in ERRORS for found in rule(decoded, known)]
    warnings = [*without_effect(decoded), *of_another_store(decoded), *missing_model_files(decoded, stores)]
    return [
        *(problem(path, decoded.place(path), message) for path, message in errors),
        *(problem(path, decoded.place(path), message, warning=True) for path, message in warnings),
    ]


def _served(decoded: Decoded, known: Known, stores: Sequence[FilePath]) -> dict[str, FilePath]:
    """Of the files found, those that are served under their own names: nothing else has the file, or the name."""
    config = decoded.config
    taken = {store / model.file for model in config.model_registry if model.file is not None for store in stores}
    return {name: file for name, file in known.models.items() if file not in taken and name not in config.aliases}


def is_loopback(host: str) -> bool:
    if is_localhost(host):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def models(decoded: Decoded, known: Known) -> Found:
    for index, model in enumerate(decoded.config.model_registry):
        path: Path = ("model_registry", index)
        if not decoded.sound(*path):
            continue
        if decoded.sound(*path, "name") and not model.name.isprintable():  # replies say it in a header
            yield (*path, "name"), "holds a character that no header can carry, such as a line's end"
        if decoded.sound(*path, "name"):
            yield from ((path + below, message) for below, message in _wildcards(model))
        if not (decoded.sound(*path, "endpoint") and decoded.sound(*path, "file")):
            pass
        elif model.endpoint is None and model.file is None and model.command is None:
            yield path, "expected an `endpoint` (another machine) or a `file` (an engine on this board), found neither"
        elif model.endpoint is not None and model.file is not None:
            yield path, "expected either `endpoint` or `file`, found both: write two models of one name for two places"
        if model.endpoint is not None and decoded.sound(*path, "endpoint"):
            for message in _endpoint(model.endpoint):
                yield (*path, "endpoint"), message
        if model.endpoint is not None and model.file is None:
            for wish in ("pin", "ttl_s", "memory_mb"):
                if getattr(model, wish) and decoded.sound(*path, wish):
                    yield (*path, wish), "is for a `file`: an engine on another machine is not ours to keep or end"
        if decoded.sound(*path, "command"):
            yield from ((path + below, message) for below, message in _command(model))
        yield from ((path + below, message) for below, message in _headers(model))
        if model.ca_file is not None and decoded.sound(*path, "ca_file"):
            for message in _ca_file(model.endpoint, model.ca_file):
                yield (*path, "ca_file"), message
        if known.dialects is not None and model.type != "auto" and model.type not in known.dialects:
            yield (*path, "type"), unknown("dialect", model.type, ["auto", *known.dialects])


def _command(model: Model) -> Found:
    if model.command is None:
        if model.health != "/health":
            yield ("health",), "is for a `command`: llama-server and other machines are known"
        return
    if model.endpoint is not None:
        yield ("command",), "is a program on this board, and an `endpoint` is another machine: write two models"
    if model.engine_args:
        yield ("engine_args",), "are llama-server's: write the flags of another program into its `command`"
    try:
        words = shlex.split(model.command)
    except ValueError as error:
        yield ("command",), f"cannot be split into words: {str(error).lower()}"
        return
    if not words:
        yield ("command",), "expected a program and its words, such as whisper-server --port {port}"
    elif not any("{port}" in word for word in words[1:]):
        yield ("command",), "expected {port} in it: where it shall listen, on 127.0.0.1"
    if model.file is None and "{model}" in model.command:
        yield ("command",), "holds {model}, and there is no `file` to stand for it"


def _wildcards(model: Model) -> Found:
    if model.name.count(WILD) > 1:
        yield ("name",), f"holds {model.name.count(WILD)} times `*`: expected one at most, such as `openai/*`"
    elif WILD in model.name and (model.file is not None or model.command is not None):
        yield ("name",), "`*` stands for many models, and a `file` is one"
    if model.model is not None and WILD in model.model and WILD not in model.name:
        yield ("model",), "`*` stands for what the `*` in `name` stood for, and there is none"


def _endpoint(endpoint: str) -> Iterator[str]:
    """Not what was found: it may hold credentials, or a variable's value."""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or not url.hostname or not _is_host(url.hostname):
        yield "expected a URL such as http://box:11434: a host, and a port from 1 to 65535 if any"
        return
    if url.username is not None:
        yield "credentials in a URL are not sent; give them as `api_key`, or as `headers: {Authorization: ...}`"
    if not re.fullmatch(r"[\x21-\x7e]*", url.path):
        yield "holds a character that no URL can carry, such as a space: write it as %20"
    if url.query or url.fragment:
        yield "expected a base URL, without `?` and `#`"
    ends = re.search(r"/(chat/completions|completions|embeddings|rerank|models|responses|messages)/?$", url.path)
    if ends:
        yield f"expected a base URL, with or without /v1; leave out {ends[0]!r}"


def _ca_file(endpoint: str | None, file: str) -> Iterator[str]:
    if endpoint is None or not endpoint.startswith("https:"):
        yield "is for an `endpoint` with https: nothing else has a certificate"
        return
    try:
        trusted_in(file)
    except NoCertificates as error:
        yield str(error)


def _is_host(host: str) -> bool:
    """No label is empty, but for a dot at the end, or too long."""
    if host.isascii():  # what the codec finds, which has 300 KiB of tables and takes 1 ms of a start
        *labels, last = host.split(".")
        return all(0 < len(label) < 64 for label in labels) and len(last) < 64 and not re.search(r"\s", host)
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return not re.search(r"\s", host)


def _headers(model: Model) -> Found:
    """What HTTP could not carry, or would carry as something else (RFC 9110, 5.1 and 5.5)."""
    if model.api_key is not None and not _sendable(model.api_key):
        yield ("api_key",), "holds a character that no header can carry, such as a line's end"
    for name, value in model.headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            yield ("headers", name), "is no name of a header: expected letters, digits and -"
        if not _sendable(value):
            yield ("headers", name), "holds a character that no header can carry, such as a line's end"


def _sendable(value: str) -> bool:
    return re.fullmatch(r"[\t\x20-\x7e]*", value) is not None


def aliases(decoded: Decoded, known: Known) -> Found:
    targets = _model_names(decoded, known)
    for name, alias in decoded.config.aliases.items():
        path: Path = ("aliases", name)
        if name in {model.name for model in decoded.config.model_registry}:
            yield path, f"a model has the name {name!r} already; rename the alias or the model"
        if not decoded.sound(*path) or targets is None:
            continue
        match alias:
            case Alias(models=wanted):
                named = [((*path, "models", index), model) for index, model in enumerate(wanted)]
            case model:
                named = [(path, model)]
        for place, model in named:
            if decoded.sound(*place) and model not in targets:
                if model in decoded.config.aliases:
                    yield place, f"{model!r} is an alias; an alias stands for models of model_registry"
                else:
                    yield place, unknown("model", model, targets)


def _model_names(decoded: Decoded, known: Known) -> list[str] | None:
    """None where a name could not be read: then nothing can be said of those that point to it."""
    registry = decoded.config.model_registry
    if not decoded.sound("model_registry"):
        return None
    if not all(decoded.sound("model_registry", index, "name") for index in range(len(registry))):
        return None
    return list(dict.fromkeys([*(model.name for model in registry), *known.models]))


def fallbacks(decoded: Decoded, known: Known) -> Found:
    registry = _model_names(decoded, known)
    router = decoded.config.router
    if registry is None or not decoded.sound("aliases"):
        return
    names = [*registry, *decoded.config.aliases, AUTO]
    for field, said in (("fallbacks", router.fallbacks), ("context_fallbacks", router.context_fallbacks)):
        path: Path = ("router", field)
        if not decoded.sound(*path):
            continue
        for name, others in said.items():
            if name not in names:
                yield (*path, name), unknown("model or alias", name, names)
            for index, other in enumerate(others):
                if decoded.sound(*path, name, index) and not named(other, names):
                    yield (*path, name, index), unknown("model or alias", other, names)
                elif other == name:
                    yield (*path, name, index), "is what has failed already"


def summaries(decoded: Decoded, known: Known) -> Found:
    registry, said = _model_names(decoded, known), decoded.config.sessions.summary_model
    if said is None or registry is None or not decoded.sound("aliases") or not decoded.sound("sessions"):
        return
    names = [*registry, *decoded.config.aliases, AUTO]
    if not named(said, names):
        yield ("sessions", "summary_model"), unknown("model or alias", said, names)


def policies(decoded: Decoded, known: Known) -> Found:
    router = decoded.config.router.policy
    if decoded.sound("router", "policy"):
        yield from _policy(("router", "policy"), ("router", "policy"), router, {}, (), known)
    for name, alias in decoded.config.aliases.items():
        path: Path = ("aliases", name)
        if isinstance(alias, Alias) and (alias.policy is not None or alias.options) and decoded.sound(*path):
            own: Path = (*path, "policy")
            yield from _policy(own, (*path, "options"), alias.policy or router, alias.options, alias.models, known)


def _policy(
    path: Path, below: Path, name: str, options: dict[str, object], models: Sequence[str], known: Known
) -> Found:
    if known.policies is not None and name not in known.policies:
        yield path, unknown("policy", name, known.policies)
    elif known.objection is not None and (objection := known.objection(name, options, models)) is not None:
        option, message = objection
        yield (*below, *_steps(option)), message


def _steps(option: str) -> Iterator[str | int]:
    """``targets[1]`` as the steps of a path."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", option):
        yield name or int(index)


def keys(decoded: Decoded, known: Known) -> Found:
    registry = _model_names(decoded, known)
    names: dict[str, int] = {}
    hashes: dict[str, int] = {}
    for index, key in enumerate(decoded.config.keys):
        path: Path = ("keys", index)
        if decoded.sound(*path, "name") and names.setdefault(key.name, index) != index:
            yield (*path, "name"), f"keys[{names[key.name]}] has the name {key.name!r} already"
        if decoded.sound(*path, "hash"):
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", key.hash):
                words = "the secret itself" if key.hash.startswith("sk-") else "something else"
                line = "`moltbot-edge keys new NAME` prints the line"
                yield (*path, "hash"), f"expected sha256: and 64 hexadecimal digits, found {words}; {line}"
            elif hashes.setdefault(key.hash, index) != index:
                yield (*path, "hash"), f"keys[{hashes[key.hash]}] has this hash already: one secret, one key"
        if registry is None or not decoded.sound("aliases"):
            continue
        callable_names = [*registry, *decoded.config.aliases, AUTO]
        for place, name in enumerate(key.models or ()):
            if decoded.sound(*path, "models", place) and not (WILD in name or named(name, callable_names)):
                yield (*path, "models", place), unknown("model or alias", name, callable_names)


def listening(decoded: Decoded, known: Known) -> Found:
    server = decoded.config.server
    path: Path = ("server", "host")
    if not decoded.sound(*path):
        return
    if re.search(r"[\s/\[\]]", server.host) or (":" in server.host and not _is_address(server.host)):
        yield path, f"expected an address or a host's name such as 127.0.0.1, ::1 or 0.0.0.0, found {server.host!r}"
    elif not is_loopback(server.host) and not decoded.config.keys and decoded.sound("keys"):
        advice = "put the line that `moltbot-edge keys new NAME` prints under `keys:`, or set host 127.0.0.1"
        yield path, f"listening on {server.host}, where others on the network can call, needs a key: {advice}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def tls(decoded: Decoded, known: Known) -> Found:
    pair = decoded.config.server.tls
    if pair is None:
        return
    for name, file in (("cert", pair.cert), ("key", pair.key)):
        if decoded.sound("server", "tls", name):
            try:
                with open(file, "rb"):
                    pass
            except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
                reason = error.strerror if isinstance(error, OSError) else error
                yield ("server", "tls", name), f"{file} cannot be read: {reason}"


def limits(decoded: Decoded, known: Known) -> Found:
    one, together = decoded.config.limits.body_bytes, decoded.config.limits.bodies_bytes
    paths: tuple[Path, Path] = ("limits", "body_bytes"), ("limits", "bodies_bytes")
    if one > together and all(decoded.sound(*path) for path in paths):
        # The field that the file names is the one to change.
        path = paths[0] if paths[0] in decoded.places else paths[1]
        yield path, f"one body may have {one} bytes (body_bytes) but all together only {together} (bodies_bytes)"


def stabilised(decoded: Decoded, known: Known) -> Found:
    said = decoded.config.prompt.stabilise
    registry = _model_names(decoded, known)
    if isinstance(said, bool) or registry is None or not decoded.sound("prompt", "stabilise"):
        return
    for place, name in enumerate(said):
        if decoded.sound("prompt", "stabilise", place) and name not in registry:
            yield ("prompt", "stabilise", place), unknown("model", name, registry)


ERRORS: Final[Sequence[Callable[[Decoded, Known], Found]]] = (
    listening,
    tls,
    models,
    aliases,
    fallbacks,
    policies,
    limits,
    sessions,
    summaries,
    stabilised,
    keys,
)


def without_effect(decoded: Decoded) -> Found:
    for path, reason in WITHOUT_EFFECT.items():
        below = [place for place in decoded.places if place[: len(path)] == path]
        if any(len(place) > len(path) for place in below) or (below and len(path) > 1):
            yield path, f"read, but without effect: {reason}"


def missing_model_files(decoded: Decoded, stores: Sequence[FilePath]) -> Found:
    for index, model in enumerate(decoded.config.model_registry):
        path: Path = ("model_registry", index, "file")
        if model.file is not None and decoded.sound(*path):
            places = [store / model.file for store in stores]
            there = FilePath.is_file if model.command is None else FilePath.exists  # another program's may be a folder
            if not any(map(there, places)):
                yield path, f"there is no such file yet: {' or '.join(dict.fromkeys(map(str, places)))}"
