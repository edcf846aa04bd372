"""``moltbot-edge sessions``: kept conversations. By the gateway that runs, or in their store where none does."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from moltbot_edge.cli.listing import Listing
from moltbot_edge.config.load import KEY_VARIABLE

if TYPE_CHECKING:  # with httpx: for who calls a command, not for its help
    from moltbot_edge.cli.kept import Kept
    from moltbot_edge.core.session import Turn
    from moltbot_edge.core.store import Page

EPILOG = """\b
Examples:
  moltbot-edge sessions
  moltbot-edge sessions show talk
  moltbot-edge sessions export talk > talk.jsonl
  moltbot-edge sessions import talk.jsonl --session again
  moltbot-edge sessions delete talk
  moltbot-edge sessions compact

Exit code: 0 done, 1 not done, 2 wrong usage.

A session belongs to the key that made it. The gateway at server.host and server.port of the configuration is asked,
with --key or MOLTBOT_EDGE_KEY where it wants one; an administrator's key may say --owner KEY of another's. Where no
gateway runs, what is kept is opened by the command itself: there everybody's sessions are."""

LISTED = 100
WIDEST = 100  # columns: longer lines are hard to read

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _of_gateway(command: F) -> F:
    for option in (
        click.option("--key", envvar=KEY_VARIABLE, help="A caller's key, where the gateway wants one."),
        click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, a YAML file."),
    ):
        command = option(command)
    return command


def _common(command: F) -> F:
    owner = click.option(
        "--owner", metavar="KEY", help="The name of the key whose sessions are meant; with list, '*' is all."
    )
    return _of_gateway(owner(command))


def _with_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


@click.group(cls=Listing, epilog=EPILOG)
def sessions() -> None:
    """Conversations that are kept: what there is, and what was said."""


@sessions.command(
    "list",
    epilog="""\b
Example:
  moltbot-edge sessions list --owner '*' --limit 20""",
)
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="How many, the newest first.")
@_with_json
@_common
def list_sessions(file: Path | None, key: str | None, owner: str | None, as_json: bool, limit: int) -> None:
    """Show the sessions, the one that was used last first. No command means this."""
    page = _done(file, key, lambda kept: kept.list(owner, limit))
    if as_json:
        _print_json(page)
        return
    _print(page)
    if not page.sessions:
        whose = "" if owner is not None else "; an administrator sees those of all keys with --owner '*'"
        click.echo(f"no sessions: a chat begins one by its header x-moltbot-session{whose}", err=True)
    elif page.after is not None:
        click.echo(f"the newest {len(page.sessions)}: --limit shows more", err=True)


@sessions.command(
    epilog="""\b
Example:
  moltbot-edge sessions show talk --all | less"""
)
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Also branches that were left, in the order of their turns.")
@_with_json
@_common
def show(name: str, file: Path | None, key: str | None, owner: str | None, as_json: bool, everything: bool) -> None:
    """Print what was said in the session NAME.

    Each turn with its time, who said what, the model that answered, and its calls of tools. It is the conversation that
    leads to the last turn; another that was left on the way is shown with --all.
    """
    from moltbot_edge.core.record import from_lines

    _, turns = _done(file, key, lambda kept: from_lines(b"".join(kept.export(owner, name))))
    if as_json:
        from moltbot_edge.gateway.archive import shown

        _print_json({"session": name, "leaf": turns[-1].id, "turns": [shown(turn) for turn in turns]})
    else:
        _read_aloud(name, turns, everything)


@sessions.command(
    epilog="""\b
Example:
  moltbot-edge sessions export talk > talk.jsonl"""
)
@click.argument("name")
@_common
def export(name: str, file: Path | None, key: str | None, owner: str | None) -> None:
    """Print the session NAME as JSON lines.

    The first says what it is, then there is one for each turn. `import` reads them, here or on another board.
    """

    def exported(kept: Kept) -> None:
        for piece in kept.export(owner, name):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    _done(file, key, exported)


@sessions.command(
    "import",
    epilog="""\b
Example:
  moltbot-edge sessions import talk.jsonl --session again""",
)
@click.argument("lines", type=click.File("rb"), metavar="FILE")
@click.option("--session", help="The name it gets; without, the one that it had.")
@_with_json
@_common
def import_session(
    lines: Any, file: Path | None, key: str | None, owner: str | None, as_json: bool, session: str | None
) -> None:
    """Keep what `export` printed to FILE.

    FILE may be - for standard input. A session that is there is never written over.
    """
    text = lines.read()
    copied = _done(file, key, lambda kept: kept.add(owner, text, session), makes=True)
    if as_json:
        _print_json(copied)
    else:
        click.echo(f"{copied.session}: {_count(copied.count, 'turn')}")


@sessions.command(
    epilog="""\b
Example:
  moltbot-edge sessions delete talk"""
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_with_json
@_common
def delete(names: tuple[str, ...], file: Path | None, key: str | None, owner: str | None, as_json: bool) -> None:
    """Delete the session NAME, with all its turns. Not while a request is at work in it."""

    def deleted(kept: Kept) -> None:
        for name in names:
            kept.delete(owner, name)
            if not as_json:
                click.echo(f"deleted {name}")

    _done(file, key, deleted)
    if as_json:
        _print_json({"deleted": names})


@sessions.command(
    epilog="""\b
Example:
  moltbot-edge sessions compact"""
)
@_with_json
@_of_gateway
def compact(file: Path | None, key: str | None, as_json: bool) -> None:
    """Give the disk back what deleted sessions took.

    Their bytes are not in the file any more then. Every session waits meanwhile: some seconds for 100 MB.
    """
    stats = _done(file, key, lambda kept: kept.compact())
    if as_json:
        _print_json(stats)
        return
    from moltbot_edge.cli.transcript import size_of

    click.echo(f"{_count(stats.turns, 'turn')} in {size_of(stats.size_bytes)}")


def _done(file: Path | None, key: str | None, do: Callable[[Kept], T], *, makes: bool = False) -> T:
    """What *do* gives, or why not, and the end."""
    from moltbot_edge.cli.kept import done
    from moltbot_edge.cli.reading import read_here
    from moltbot_edge.cli.running import WHAT_THERE_IS, Refused
    from moltbot_edge.config.load import find_config
    from moltbot_edge.core.errors import GatewayError, UnknownSession
    from moltbot_edge.kernel.registry import PluginError

    reading, registry = read_here(find_config(file, os.environ))
    for problem in reading.errors:
        click.echo(str(problem), err=True)
    if reading.errors:
        raise SystemExit(1)
    try:
        return done(reading.config, registry, key, do, makes=makes)
    except UnknownSession as error:
        click.echo(f"{error}; {WHAT_THERE_IS}", err=True)
        raise SystemExit(1) from None
    except (GatewayError, Refused, PluginError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None


def _print(page: Page) -> None:
    from moltbot_edge.cli.transcript import plain, size_of, when

    if not page.sessions:
        return
    owned = any(one.owner for one in page.sessions)
    lines = [("NAME", *(("KEY",) if owned else ()), "TURNS", "SIZE", "LAST")]
    for one in page.sessions:
        mine = (plain(one.owner) or "-",) if owned else ()
        lines.append((plain(one.session), *mine, str(one.turns), size_of(one.size_bytes), when(one.at)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _read_aloud(name: str, turns: Iterable[Turn], everything: bool) -> None:
    from moltbot_edge.cli.transcript import transcript

    width = None
    if sys.stdout.isatty():
        width = min(WIDEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of what is said, a terminal may not have every letter
    for line in transcript(tuple(turns), everything=everything, width=width):
        click.echo(line)


def _print_json(said: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(said))


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
