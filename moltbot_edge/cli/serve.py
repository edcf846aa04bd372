"""``moltbot-edge serve``: the gateway, until it is told to stop."""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import click

from moltbot_edge import __version__, binary
from moltbot_edge.assemble import Gateway, assemble
from moltbot_edge.cli.reading import read_here
from moltbot_edge.config.catalog import nearby
from moltbot_edge.config.load import find_config, model_stores
from moltbot_edge.config.schema import Config
from moltbot_edge.kernel.registry import PluginError
from moltbot_edge.server.listener import CannotListen

EPILOG = """\b
Examples:
  moltbot-edge serve
  moltbot-edge serve --config /etc/moltbot/moltbot.yaml
  moltbot-edge serve --port 9090

Without --config: $MOLTBOT_EDGE_CONFIG, ./moltbot.yaml or /etc/moltbot/moltbot.yaml, else the defaults."""

QUESTION = "What is the capital of France? Answer in one sentence."

log = logging.getLogger(__name__)


@click.command(epilog=EPILOG)
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, a YAML file.")
@click.option("--host", help="Address to listen on, instead of the configuration's; off loopback keys are required.")
@click.option("--port", help="Port to listen on, instead of the configuration's; 0 lets the system choose.")
@click.pass_context
def serve(ctx: click.Context, file: Path | None, host: str | None, port: str | None) -> None:
    """Serve every model of the configuration, and the GGUF files found, until SIGTERM or Ctrl-C.

    A reply under way is finished before the gateway ends; a second Ctrl-C does not wait for it.
    """
    _occupy_streams()
    path = find_config(file, os.environ)
    asked = {"server.host": host, "server.port": port}
    reading, registry = read_here(path, {name: value for name, value in asked.items() if value is not None})
    for problem in reading.problems:
        click.echo(str(problem), err=True)
    if reading.errors:
        click.echo(f"not started: {path or 'the configuration'} has to be put right first", err=True)
        ctx.exit(1)
    _log_to_stderr(reading.config)
    _raise_open_file_limit()
    try:
        gateway = assemble(
            reading.config,
            registry,
            model_stores(reading.config, path),
            environment=os.environ,
            nearby=nearby(reading.config.server.port) if path is None else (),
            on_started=_started,
        )
    except PluginError as error:
        click.echo(f"not started: {error}", err=True)
        ctx.exit(1)
    if gateway.has_engines and not _is_on_the_path(reading.config.engines.command):
        click.echo(
            f"there are models for an engine, and {reading.config.engines.command!r} is not on the PATH: "
            "install llama.cpp, or name its llama-server in engines.command",
            err=True,
        )
    if not gateway.keeps_sessions:
        click.echo(
            f"sessions cannot be kept {gateway.sessions_where}: user {os.geteuid()} may not write there. Let this user "
            "have the folder, or give `sessions.path` another; until that is well, what is said is not kept",
            err=True,
        )
    # What exists now stays until the end: the collector need not look at it again.
    gc.freeze()
    gc.enable()
    try:
        gateway.run()
    except CannotListen as error:
        click.echo(f"not started: cannot listen on {error}", err=True)
        click.echo("stop what listens there, or choose another with --port N", err=True)
        ctx.exit(1)


def _is_on_the_path(command: str) -> bool:
    import shutil  # with bz2 and lzma: for those who have engines

    return shutil.which(command) is not None


def _started(gateway: Gateway, url: str) -> None:
    with suppress(OSError):  # whoever reads it may have gone, and the callers are others
        _greet(gateway, url)
    binary.release_frozen_pages()


def _greet(gateway: Gateway, url: str) -> None:
    """The lines that a person pastes, on standard output; the log goes to the other."""
    names = gateway.catalog.names() or list(gateway.catalog.routes)
    if not names:
        click.echo(f"moltbot-edge {__version__} listens on {url}, and has no model yet: put a GGUF file into one of")
        click.echo(f"  {', '.join(map(str, gateway.stores))}")
        click.echo("or add a machine to model_registry (`moltbot-edge check --help`), and start again.")
        return
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    messages = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": names[0], "stream": True, "temperature": 0, "messages": messages})
    key = " -H 'Authorization: Bearer KEY'" if gateway.needs_key else ""
    click.echo(f"moltbot-edge {__version__} serves {listed}")
    click.echo(f"  try it    curl -N {url}/v1/chat/completions{key} -d {shlex.quote(body)}")
    click.echo(f"  base URL  {url}/v1  (for an OpenAI SDK; {'a key of yours' if key else 'any text'} as the API key)")
    if gateway.keeps_sessions:
        click.echo(f"  sessions  {gateway.sessions_where}, of who sends the header x-moltbot-session: NAME")
    click.echo(f"  metrics   {url}/metrics")


def _occupy_streams() -> None:
    """Whoever starts us may have closed some of the three. A socket must not get such a number.

    libuv aborts when it closes one (``uv__close``), and what anybody prints would go to a caller. Without /dev/null,
    in an empty root, the end of a pipe does as well: it reads as empty.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                _, write = os.pipe()
                os.close(write)


def _log_to_stderr(config: Config) -> None:
    # systemd's journal puts the time before each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=config.server.log_level.upper(), format=f"{stamp}%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )


def _raise_open_file_limit() -> None:
    """To what the system allows: a caller and its upstream are two files, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
