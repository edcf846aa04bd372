"""Finds the file, joins it with the environment and the command line, and raises one error for all that is wrong.

What is said later counts more: defaults, the file, MODEL_ROUTER and SESSION_TIMEOUT, MOLTBOT_EDGE_*, the command
line. This is the one place that reads the environment, and only where none is given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.config.check import ConfigError, Problem, check
from moltbot_edge.config.decode import Decoded, decode, scalar_paths
from moltbot_edge.config.known import Known
from moltbot_edge.config.places import sessions_folder
from moltbot_edge.config.problem import Path as FieldPath
from moltbot_edge.config.problem import Place, did_you_mean, problem
from moltbot_edge.config.schema import Config
from moltbot_edge.config.tree import Table, outside, with_value

CONFIG_VARIABLE: Final = "MOLTBOT_EDGE_CONFIG"
KEY_VARIABLE: Final = "MOLTBOT_EDGE_KEY"  # for commands that ask a running gateway
CONFIG_PLACES: Final = (Path("moltbot.yaml"), Path("/etc/moltbot/moltbot.yaml"))
PREFIX: Final = "MOLTBOT_EDGE_"
SHORT_NAMES: Final[Mapping[str, FieldPath]] = {
    "MODEL_ROUTER": ("router", "policy"),
    "SESSION_TIMEOUT": ("sessions", "timeout_s"),
}
# What Kubernetes puts into every container for a Service named moltbot-edge (or moltbot-edge-server).
_SERVICE_LINK: Final = re.compile(r"MOLTBOT_EDGE_(SERVICE_(HOST|PORT)|PORT)(_.*)?")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://[\d.:\[\]a-f]+")


class Reading(msgspec.Struct, frozen=True):
    """*config* is whole only where *errors* is empty; *path* is None where there is no file."""

    config: Config
    problems: tuple[Problem, ...]
    path: Path | None

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.warning]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.warning]


def find_config(named: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """The one that is named, there or not; else the first that is there; else None: then the defaults count."""
    environment = os.environ if environment is None else environment
    if named is not None:
        return named
    if variable := environment.get(CONFIG_VARIABLE):
        return Path(variable)
    return next((place for place in CONFIG_PLACES if place.exists()), None)


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    known: Callable[[Config], Known] | None = None,
) -> Config:
    """As `read`, for whoever goes on only if all is well. Raises `ConfigError`."""
    reading = read(path, environment, settings=settings, known=known)
    if reading.errors:
        raise ConfigError(reading.problems)
    return reading.config


def read(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    known: Callable[[Config], Known] | None = None,
) -> Reading:
    """Everything that the file and the rest say, and everything that is wrong with it; raises nothing for either.

    *settings* come from the command line, by path: ``{"server.port": "9090"}``. *known* is asked for the names of
    plug-ins and models once it is clear where the configuration keeps them.
    """
    environment = os.environ if environment is None else environment
    tree, problems = _file(path)
    # The table of variables costs 3 ms on a fast machine, and most environments hold none of them.
    fields = variables() if any(name.startswith(PREFIX) for name in environment) else {}
    for field, source, text in _overrides(environment, fields):
        tree = with_value(tree, field, outside(text, source))
    for name, text in (settings or {}).items():
        tree = with_value(tree, tuple(name.split(".")), outside(text, f"--{name.rpartition('.')[2]}"))

    folder = _folder_of(path)
    decoded = _placed(decode(tree, environment, folder), environment)
    names = Known() if known is None else known(decoded.config)
    problems += [*decoded.problems, *names.problems]
    if not any(problem.path == "" for problem in problems):  # else most of the file is not there to be checked
        problems += check(decoded, names, model_stores(decoded.config, path))
    problems += _unknown_variables(environment, fields)
    problems.sort(key=lambda problem: (problem.line is None, problem.line or 0))
    return Reading(decoded.config, tuple(problems), path)


def _placed(decoded: Decoded, environment: Mapping[str, str]) -> Decoded:
    """With a place for sessions where the configuration says none."""
    if ("sessions", "path") in decoded.places:
        return decoded
    config = decoded.config
    sessions = replace(config.sessions, path=str(sessions_folder(environment)))
    return replace(decoded, config=replace(config, sessions=sessions))


def model_stores(config: Config, config_path: Path | None) -> list[Path]:
    """The folders where GGUF files may be, in the order in which to look."""
    if config.model_store != Config().model_store:
        return [Path(config.model_store)]
    beside = _folder_of(config_path) / "models"
    system = Path(config.model_store)
    return [system, beside] if system.is_dir() else [beside]


def _folder_of(config_path: Path | None) -> Path:
    """Where relative paths begin: with the file; without one, here."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed, and has no name any more
        here = Path("/")
    return here if config_path is None else (here / config_path).parent


def variables() -> dict[str, FieldPath]:
    """Every variable that sets a field: ``MOLTBOT_EDGE_SERVER_PORT`` -> ``("server", "port")``."""
    return {PREFIX + "_".join(map(str, path)).upper(): path for path in scalar_paths()}


def _file(path: Path | None) -> tuple[Table, list[Problem]]:
    if path is None:
        return Table({}, Place("defaults")), []
    from moltbot_edge.config.document import MAX_BYTES, parse  # PyYAML: for those who have a file

    source = str(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return Table({}, Place(source)), [problem((), Place(source), message)]
    return parse(text, source)


def _overrides(environment: Mapping[str, str], fields: Mapping[str, FieldPath]) -> Iterator[tuple[FieldPath, str, str]]:
    """Path, variable, text. An empty variable is what Compose makes of one that is not set."""
    for name, path in SHORT_NAMES.items():
        if text := environment.get(name):
            yield path, name, text
    for name in sorted(environment):
        field = fields.get(_single(name))
        if field is not None and environment[name] and not _SERVICE_ADDRESS.fullmatch(environment[name]):
            yield field, name, environment[name]


def _unknown_variables(environment: Mapping[str, str], fields: Mapping[str, FieldPath]) -> list[Problem]:
    return [
        problem((), Place(name), f"sets no field{did_you_mean(_single(name), fields)}", warning=True)
        for name in sorted(environment)
        if name.startswith(PREFIX)
        and name not in (CONFIG_VARIABLE, KEY_VARIABLE)
        and _single(name) not in fields
        and not _SERVICE_LINK.fullmatch(name)
    ]


def _single(name: str) -> str:
    """Two underscores may stand between section and field, as other programs have it."""
    return name.replace("__", "_")
