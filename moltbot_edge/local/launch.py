"""From a model to the command that serves it: the program, the flags it knows, the file, a port. Starts no engine."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from moltbot_edge.config.schema import Engines
from moltbot_edge.local import process, store
from moltbot_edge.local.board import this_machine
from moltbot_edge.local.gguf import GgufError
from moltbot_edge.local.profile import HOST, Settings, flags, known_flags

HELP_S = 30.0  # from a cold SD card; a GPU build may look for its devices first
HELP_BYTES = 1024 * 1024  # a tenth of that is usual


class EngineModel(msgspec.Struct, frozen=True):
    """*name* is what callers ask for; *args* are the user's flags for this model alone."""

    name: str
    file: Path
    args: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True):
    words: tuple[str, ...]
    environment: Mapping[str, str]
    port: int


class CannotStart(Exception):
    """Why there is no command, for the one who asked for the model."""


class Launcher:
    """Asks ``--help`` once. *environment* is the gateway's own, of which an engine gets what concerns it."""

    def __init__(self, engines: Engines, environment: Mapping[str, str], log: logging.Logger) -> None:
        self._engines = engines
        self._environment = environment
        self._log = log
        self._help: dict[Path, str] = {}

    async def command(self, model: EngineModel, taken_ports: Collection[int]) -> Command:
        """Raises `CannotStart`."""
        program = self._program()
        environment = process.environment_for(program, self._environment)
        help_text = await self._help_text(program, environment)
        if lacking := [part.name for part in store.parts(model.file) if not part.exists()]:
            raise CannotStart(f"{', '.join(lacking)} is not in {model.file.parent}")
        try:
            facts = await asyncio.to_thread(store.facts_of, model.file)
        except GgufError as error:
            raise CannotStart(f"{model.file} cannot be read as a GGUF file: {error}") from error
        except OSError as error:
            raise CannotStart(f"{model.file} cannot be read: {error.strerror}") from error
        machine = this_machine()
        projector = store.projector(model.file)
        port = free_port(taken_ports)
        settings = Settings(
            name=model.name,
            file=str(model.file),
            port=port,
            context_tokens=self._engines.context_tokens,
            threads=machine.threads,
            args=(*self._engines.args, *model.args),
            projector=str(projector) if projector is not None else None,
        )
        words = (str(program), *flags(help_text, machine.board, facts, settings))
        return Command(words, environment, port)

    def _program(self) -> Path:
        import shutil  # with bz2 and lzma, 2.5 ms: for who starts an engine

        command = self._engines.command
        found = shutil.which(os.path.expanduser(command), path=self._environment.get("PATH"))
        if found is None:
            where = "is no program" if "/" in command else "is not on the PATH"
            raise CannotStart(
                f"there is no llama-server to run it: {command!r} {where}; "
                "install llama.cpp, or set `engines.command` to the path of its llama-server"
            )
        return Path(found)

    async def _help_text(self, program: Path, environment: Mapping[str, str]) -> str:
        known = self._help.get(program)
        if known is not None:
            return known
        try:
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
        self._help[program] = text
        return text


def free_port(taken: Collection[int]) -> int:
    """A port that nobody listens on now. Somebody may, before the engine does: its end is then a `PORT_TAKEN`."""
    while True:
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            port = int(sock.getsockname()[1])
        if port not in taken:
            return port
