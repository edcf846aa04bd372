"""``moltbot-edge models``: the models of this board. By the gateway that runs, or on the files where none does."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from moltbot_edge.cli.listing import Listing
from moltbot_edge.cli.reading import read_here
from moltbot_edge.config.catalog import catalog_of, engines_of
from moltbot_edge.config.load import KEY_VARIABLE, find_config, model_stores
from moltbot_edge.config.schema import Config

if TYPE_CHECKING:  # with httpx: for who calls a command, not for its help
    from moltbot_edge.local.launch import EngineModel, Survey
    from moltbot_edge.local.pull import Event
    from moltbot_edge.local.shelf import Shelf, Shown

EPILOG = """\b
Examples:
  moltbot-edge models
  moltbot-edge models load small
  moltbot-edge models unload small
  moltbot-edge models remove small
  moltbot-edge models pull OWNER/NAME-GGUF:Q4_K_M

Exit code: 0 done, 1 not done, 2 wrong usage.

What runs is asked at server.host and server.port of the configuration. Where no gateway runs, list, remove and pull
work on the files alone; load and unload are for a gateway that runs."""

NEEDS_IT = "no gateway runs at {}: start one with `moltbot-edge serve`"
MIB = 1024 * 1024
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Asking(msgspec.Struct):
    """What every command is given."""

    config: Config
    stores: Sequence[Path]
    key: str | None
    as_json: bool


def _common(command: F) -> F:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--key", envvar=KEY_VARIABLE, help="An administrator's key, where the gateway wants one."),
        click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, a YAML file."),
    ):
        command = option(command)
    return command


@click.group(cls=Listing, epilog=EPILOG)
def models() -> None:
    """The models of this board: what there is, what fits, what runs."""


@models.command(
    "list",
    epilog="""\b
Example:
  moltbot-edge models list --json""",
)
@_common
def list_models(file: Path | None, key: str | None, as_json: bool) -> None:
    """Show each model: its size, its context, what memory it needs, whether it fits, and what its engine does.

    It `fits` beside any other one that does; it `fits alone` if others have to make room for it. LONGEST is the most
    tokens of context with which it would fit. No command means this.
    """
    asking = _asking(file, key, as_json)
    from moltbot_edge.cli.running import running

    with running(asking.config, key) as gateway:
        shelf = _of(gateway.shelf) or asyncio.run(_on_files(asking))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(shelf)))
    else:
        _print(shelf, asking)


@models.command(
    epilog="""\b
Example:
  moltbot-edge models load small"""
)
@click.argument("name")
@_common
def load(name: str, file: Path | None, key: str | None, as_json: bool) -> None:
    """Start the engine of NAME now, without a request. Idle ones may have to make room for it."""
    _asked_for(_asking(file, key, as_json), name, "load", "is ready")


@models.command(
    epilog="""\b
Example:
  moltbot-edge models unload small"""
)
@click.argument("name")
@_common
def unload(name: str, file: Path | None, key: str | None, as_json: bool) -> None:
    """End the engine of NAME, once it has answered what it was asked. The next request starts it again."""
    _asked_for(_asking(file, key, as_json), name, "unload", "has ended")


@models.command(
    epilog="""\b
Example:
  moltbot-edge models remove small"""
)
@click.argument("name")
@_common
def remove(name: str, file: Path | None, key: str | None, as_json: bool) -> None:
    """Remove the files of NAME from the model store. Not while somebody uses it, and nothing outside of the store."""
    asking = _asking(file, key, as_json)
    from moltbot_edge.cli.running import of, running

    with running(asking.config, key) as gateway:
        if _of(gateway.shelf) is not None:
            said = _of(lambda: gateway.ask("DELETE", of(name)))
        else:
            said = _removed(asking, name)
    if as_json:
        click.echo(json.dumps(said))
        return
    for one in said["files"]:
        click.echo(f"removed {one}")
    if said["configured"]:
        click.echo(f"{name} is still in model_registry, and cannot be served without its file")


@models.command(
    epilog="""\b
Example:
  moltbot-edge models pull OWNER/NAME-GGUF:Q4_K_M
  moltbot-edge models pull https://example.com/model.gguf --sha256 9f86d081..."""
)
@click.argument("source")
@click.option("--sha256", help="What the file's SHA-256 has to be; of a hub's files it is known.")
@_common
def pull(source: str, sha256: str | None, file: Path | None, key: str | None, as_json: bool) -> None:
    """Fetch a GGUF model into the model store: of a hub (OWNER/NAME, OWNER/NAME:QUANT, OWNER/NAME/FILE.gguf), or a URL.

    What was cut off goes on where it was when it is pulled again. A gateway that runs serves the model at once.
    HF_ENDPOINT names another hub than https://huggingface.co, HF_TOKEN is sent to the hub and to nobody else.
    """
    asking = _asking(file, key, as_json)
    from moltbot_edge.cli.progress import Bar
    from moltbot_edge.cli.running import Refused, running
    from moltbot_edge.local.pull import Asked, Failed, Pulled

    asked = Asked(source, sha256, os.environ.get("HF_ENDPOINT") or None, os.environ.get("HF_TOKEN") or None)
    bar, last = Bar(silent=as_json), None
    try:
        with running(asking.config, key) as gateway:
            there = _of(gateway.shelf) is not None
            for last in gateway.pull(asked) if there else _here(asked, asking.stores[0]):
                bar.show(last)
    except Refused as error:
        bar.clear()
        _fail(str(error))
    except KeyboardInterrupt:
        bar.clear()
        click.echo("stopped; the next pull goes on from here", err=True)
        raise SystemExit(130) from None
    if as_json and last is not None:
        click.echo(msgspec.json.encode(last).decode())
    match last:
        case Pulled(model, path, _, note):
            if not as_json:
                click.echo(f"{path}\nits name is {model}" if note is None else f"{path}\n{note}")
        case Failed(message) if not as_json:
            _fail(message)
        case _:
            raise SystemExit(1)


def _asking(file: Path | None, key: str | None, as_json: bool) -> Asking:
    path = find_config(file, os.environ)
    reading, _ = read_here(path)
    for problem in reading.errors:
        click.echo(str(problem), err=True)
    if reading.errors:
        raise SystemExit(1)
    return Asking(reading.config, model_stores(reading.config, path), key, as_json)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(1)


def _of(ask: Callable[[], T]) -> T:
    """What the gateway answers, or its words and the end."""
    from moltbot_edge.cli.running import Refused

    try:
        return ask()
    except Refused as error:
        _fail(str(error))


def _asked_for(asking: Asking, name: str, action: str, done: str) -> None:
    from moltbot_edge.cli.running import of, running

    with running(asking.config, asking.key) as gateway:
        if _of(gateway.shelf) is None:
            _fail(NEEDS_IT.format(gateway.url))
        said = _of(lambda: gateway.ask("POST", of(name, action)))
    click.echo(json.dumps(said) if asking.as_json else f"{name} {done}")


# Where no gateway runs.


def _engine_models(asking: Asking) -> dict[str, EngineModel]:
    from moltbot_edge.local.launch import engine_model
    from moltbot_edge.local.store import found_models

    catalog = catalog_of(asking.config, found_models(asking.stores), asking.stores)
    return {name: engine_model(upstream) for name, upstream in engines_of(catalog).items()}


async def _on_files(asking: Asking) -> Shelf:
    from moltbot_edge.local.keeping import KeepsNothing
    from moltbot_edge.local.kv_folder import folder_for
    from moltbot_edge.local.launch import CannotStart, Launcher
    from moltbot_edge.local.memory import Memory, budget_bytes
    from moltbot_edge.local.shelf import WouldKeep, estimated, listed

    engines = asking.config.engines
    keeper = WouldKeep(folder_for(engines.kv_path, os.environ)) if engines.kv_disk_mb else KeepsNothing()
    launcher = Launcher(engines, os.environ, logging.getLogger(__name__), keeper)

    async def look(model: EngineModel) -> Survey:
        try:
            return await launcher.survey(model)
        except CannotStart:
            if not model.is_llama_server:
                raise
            return await asyncio.to_thread(estimated, model, engines)

    limit = budget_bytes(engines.memory_mb, Memory().available(), engines.reserve_percent)
    return await listed(list(_engine_models(asking).values()), look, limit)


def _removed(asking: Asking, name: str) -> dict[str, Any]:
    from moltbot_edge.local import store

    known = _engine_models(asking)
    if name not in known:
        _fail(f"no model of this board is named {name!r}; there is: {', '.join(known) or 'none'}")
    try:
        files = store.remove(store.removable(known[name].file, asking.stores))
    except ValueError as error:
        _fail(f"{name!r} cannot be removed: {error}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")
    configured = any(one.name == name.partition("#")[0] for one in asking.config.model_registry)
    return {"model": name, "files": [str(one) for one in files], "configured": configured}


def _here(asked: Any, folder: Path) -> Iterator[Event]:
    from moltbot_edge.local.pull import pull as pulled

    events = pulled(asked, folder, os.environ)

    async def following() -> Event | None:
        return await anext(events, None)

    with asyncio.Runner() as runner:
        try:
            while (event := runner.run(following())) is not None:
                yield event
        finally:
            runner.run(events.aclose())


# As a table.


def _print(shelf: Shelf, asking: Asking) -> None:
    if not shelf.models:
        click.echo(f"no models in {' or '.join(map(str, asking.stores))}: moltbot-edge models pull OWNER/NAME-GGUF")
        return
    titles = ("NAME", "SIZE", "CONTEXT", "NEEDS", "FIT", "LONGEST", *(("STATE",) if shelf.gateway else ()))
    lines = [titles, *(_line(one, shelf.gateway) for one in shelf.models)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    for one in shelf.models:
        if one.problem is not None:
            click.echo(f"{one.name}: {one.problem}")
    whose = "" if shelf.gateway else "; no gateway was asked"
    click.echo(f"engines may take {shelf.limit_bytes // MIB} MiB together{whose}")


def _line(one: Shown, running: bool) -> tuple[str, ...]:
    state = one.state or ""
    if one.serving or one.waiting:
        state += f", {one.serving} served, {one.waiting} waiting"
    if one.pinned:
        state += ", pinned"
    return (
        one.name,
        f"{one.size_bytes / MIB:.0f} MiB" if one.size_bytes else "-",
        str(one.context_tokens or "-"),
        f"{one.needs_bytes / MIB:.0f} MiB" if one.needs_bytes else "-",
        one.fit.value,
        "-" if one.longest_context_tokens is None else str(one.longest_context_tokens),
        *((state,) if running else ()),
    )
