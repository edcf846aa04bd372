"""From a model to the command that serves it: the program, the flags it knows, the file, a port. Starts no engine."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import re
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.catalog import Upstream
from moltbot_edge.local import process, store
from moltbot_edge.local.board import laid_out_anew, this_machine
from moltbot_edge.local.footprint import MIB, PROGRAM_BYTES, Footprint, Launch, launched_by, longest_context, predicted
from moltbot_edge.local.gguf import Facts, GgufError
from moltbot_edge.local.keeping import Keeper, KeepsNothing
from moltbot_edge.local.profile import HOST, Settings, flags, known_flags

HELP_S = 30.0  # from a cold SD card; a GPU build may look for its devices first
HELP_BYTES = 1024 * 1024  # a tenth of that is usual
HEAD_BYTES = 64 * 1024  # of a model, for its identity: with size and time they tell it from any other

# What a cache does not depend on. Whatever else is on the command line may change what is in it.
INDIFFERENT = frozenset({"--model", "--host", "--port", "--slot-save-path", "--threads", "--alias", "--batch-size"})


_PLACEHOLDER = re.compile(r"\{(?:port|host|model|name)\}")


class EngineModel(msgspec.Struct, frozen=True):
    """*name* is what callers ask for; *args* are the user's flags for this model alone, the rest the user's wishes.

    *command*: another program than llama-server, as a template; *health* answers with 200 once it is ready. Such a one
    may have no *file*, which is ``Path()`` then.
    """

    name: str
    file: Path
    args: tuple[str, ...] = ()
    pin: bool = False
    ttl_s: float | None = None
    memory_bytes: int | None = None
    command: tuple[str, ...] = ()
    health: str = "/health"

    @property
    def is_llama_server(self) -> bool:
        return not self.command


def engine_model(upstream: Upstream) -> EngineModel:
    """The engine of *upstream*, one of this board."""
    memory_mb = upstream.engine_memory_mb
    return EngineModel(
        upstream.name,
        Path(upstream.model_file or ""),
        upstream.engine_args,
        upstream.engine_pin,
        upstream.engine_ttl_s,
        None if memory_mb is None else memory_mb * MIB,
        upstream.engine_command,
        upstream.engine_health,
    )


class Survey(msgspec.Struct, frozen=True):
    """What is known of an engine before it runs. *weights_bytes* are those of all its files."""

    weights_bytes: int
    facts: Facts
    launch: Launch

    @classmethod
    def unknown(cls) -> Survey:
        """Of what cannot start, and will say why when it is tried."""
        return cls(0, Facts(""), Launch(0))

    @property
    def footprint(self) -> Footprint:
        if not self.facts.architecture:
            return Footprint(self.weights_bytes, program=PROGRAM_BYTES if self.weights_bytes else 0)
        return predicted(self.weights_bytes, self.facts, self.launch)

    def longest_context(self, room_bytes: int) -> int:
        return longest_context(self.weights_bytes, self.facts, self.launch, room_bytes)


class Command(msgspec.Struct, frozen=True):
    words: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    survey: Survey


class _Prepared(msgspec.Struct, frozen=True):
    command: Command
    identity: str
    slot_path: str | None

    @property
    def survey(self) -> Survey:
        return self.command.survey


class _Looked(msgspec.Struct, frozen=True):
    """What was seen of a model's files. *marks* are another when they, or the program, are; so is *head* mostly."""

    file: Path
    projector: Path | None
    facts: Facts
    head: str
    marks: tuple[str, ...]
    weights_bytes: int


class CannotStart(Exception):
    """Why there is no command, for the one who asked for the model."""

    def __init__(self, why: str) -> None:
        super().__init__(why.encode("utf-8", "replace").decode())  # a file's name need not be text


class Launcher:
    """Asks a program for its ``--help`` once. *environment* is the gateway's: an engine gets of it what concerns it."""

    def __init__(
        self,
        engines: Engines,
        environment: Mapping[str, str],
        log: logging.Logger,
        keeper: Keeper = KeepsNothing(),  # noqa: B008  # it has no state
    ) -> None:
        self._engines = engines
        self._environment = environment
        self._log = log
        self._keeper = keeper
        self._help: dict[tuple[Path, str], str] = {}  # by a program and its `_mark`
        self._looked_at: dict[str, _Looked] = {}  # by model

    async def survey(self, model: EngineModel) -> Survey:
        """What its engine would be, if it started now. Raises `CannotStart`."""
        if not model.is_llama_server:
            return self._by_template(model, 0).survey
        return (await self._prepared(model, 0)).survey

    async def command(self, model: EngineModel, taken_ports: Collection[int]) -> Command:
        """Raises `CannotStart`."""
        if not model.is_llama_server:
            return self._by_template(model, free_port(taken_ports))
        prepared = await self._prepared(model, free_port(taken_ports))
        words = prepared.command.words
        saves = prepared.slot_path in words  # else the build cannot, or the user keeps them elsewhere
        generates = prepared.command.survey.facts.generates
        self._keeper.starts(model.name, prepared.identity if saves else None, generates and pins(words))
        return prepared.command

    async def _prepared(self, model: EngineModel, port: int) -> _Prepared:
        program = self._program(self._engines.command)
        environment = process.environment_for(program, self._environment)
        help_text = await self._help_text(program, environment)
        if lacking := [part.name for part in store.parts(model.file) if not part.exists()]:
            raise CannotStart(f"{', '.join(lacking)} is not in {model.file.parent}")
        try:
            looked = await asyncio.to_thread(_looked_at, model.file, program, self._looked_at.get(model.name))
        except GgufError as error:
            raise CannotStart(f"{model.file} cannot be read as a GGUF file: {error}") from error
        except OSError as error:
            raise CannotStart(f"{model.file} cannot be read: {error.strerror}") from error
        self._looked_at[model.name] = looked
        facts, projector = looked.facts, looked.projector
        machine = this_machine()
        settings = Settings(
            name=model.name,
            file=str(model.file),
            port=port,
            context_tokens=self._engines.context_tokens,
            threads=machine.threads,
            args=(*self._engines.args, *model.args),
            projector=str(projector) if projector is not None else None,
            slot_path=self._keeper.slot_path(model.name) if facts.generates else None,
        )
        words = (str(program), *flags(help_text, machine.board, facts, settings))
        survey = Survey(looked.weights_bytes, facts, launched_by(words, facts, laid_out_anew()))
        command = Command(words, environment, port, survey)
        return _Prepared(command, identity(help_text, words, (looked.head, *looked.marks)), settings.slot_path)

    def _by_template(self, model: EngineModel, port: int) -> Command:
        """Whatever program it is: nothing is known of it but what the user says, and how large its file is."""
        program = self._program(model.command[0], wanted=f"to run {model.name!r}")
        size = 0
        if model.file != Path():
            try:
                size = sum(part.stat().st_size for part in store.parts(model.file))
            except OSError as error:
                raise CannotStart(f"{error.filename} cannot be read: {error.strerror}") from error
        words = filled(model.command[1:], model, port)
        survey = Survey(size, Facts(""), Launch(0, keeps_context=False))
        return Command((str(program), *words), process.environment_for(program, self._environment), port, survey)

    def _program(self, command: str, wanted: str | None = None) -> Path:
        """*wanted*: what for, of another program than llama-server."""
        import shutil  # with bz2 and lzma, 2.5 ms: for who starts an engine

        found = shutil.which(os.path.expanduser(command), path=self._environment.get("PATH"))
        if found is None:
            where = "is no program" if "/" in command else "is not on the PATH"
            if wanted is not None:
                raise CannotStart(f"there is no program {wanted}: {command!r} {where}")
            raise CannotStart(
                f"there is no llama-server to run it: {command!r} {where}; "
                "install llama.cpp, or set `engines.command` to the path of its llama-server"
            )
        return Path(found)

    async def _help_text(self, program: Path, environment: Mapping[str, str]) -> str:
        try:
            key = program, _mark(program)  # a build may be replaced by another while the gateway runs
            if key in self._help:
                return self._help[key]
            child = await process.spawn((str(program), "--help"), environment=environment, keep_bytes=HELP_BYTES)
        except OSError as error:
            raise CannotStart(f"{program} does not run: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(HELP_S):
                status = await child.ended()
        except TimeoutError as error:
            raise CannotStart(f"`{program} --help` did not end within {HELP_S:.0f} s") from error
        finally:
            child.kill()
        text = "\n".join(child.output.lines())
        if "--model" not in known_flags(text):
            said = "; ".join(child.output.lines(3)) or "nothing"
            raise CannotStart(f"{program} is no llama-server: `--help` {process.how_it_ended(status)} and said: {said}")
        self._help = {key: text}
        return text


def filled(words: Sequence[str], model: EngineModel, port: int) -> list[str]:
    """The words of a template with what stands for its placeholders. A word stays one word, whatever is in it."""
    values = {"{port}": str(port), "{host}": HOST, "{model}": str(model.file), "{name}": model.name}
    return [_PLACEHOLDER.sub(lambda found: values[found[0]], word) for word in words]


def identity(help_text: str, words: Sequence[str], marks: Sequence[str]) -> str:
    """Of what decides about the content of a cache: the build, its flags, and *marks* of program and model."""
    told = hashlib.sha256()
    rest = iter(words[1:])
    for word in rest:
        if word in INDIFFERENT:
            next(rest, None)
        else:
            told.update(word.encode() + b"\0")
    for text in (help_text, *marks):
        told.update(text.encode() + b"\0")
    return told.hexdigest()


def pins(words: Sequence[str]) -> bool:
    """Not where llama-server moves prompts between its slots by itself: what was sent to a slot may be in another."""
    for option, value in itertools.pairwise(words):
        if option in ("--cache-ram", "-cram"):
            return value == "0"
    return True


def _looked_at(file: Path, program: Path, before: _Looked | None) -> _Looked:
    """*before* again, where all of it is still as it was: reading a header takes a Pi a third of a second."""
    projector = store.projector(file)
    weights = [*store.parts(file), *([projector] if projector is not None else [])]
    marks = tuple(map(_mark, (program, *weights)))
    if before is not None and (before.file, before.projector, before.marks) == (file, projector, marks):
        return before
    found = store.facts_of(file)
    with file.open("rb") as opened:
        head = hashlib.sha256(opened.read(HEAD_BYTES)).hexdigest()
    return _Looked(file, projector, found, head, marks, sum(one.stat().st_size for one in weights))


def _mark(file: Path) -> str:
    """Another one when *file* is."""
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def free_port(taken: Collection[int]) -> int:
    """A port that nobody listens on now. Somebody may, before the engine does: its end is then a `PORT_TAKEN`."""
    while True:
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            port = int(sock.getsockname()[1])
        if port not in taken:
            return port
