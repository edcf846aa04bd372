"""``moltbot-edge plugins``: what was found where, what is wrong with it, and what a file may import."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from moltbot_edge import binary
from moltbot_edge.config.load import Reading, find_config, read
from moltbot_edge.kernel.discover import Found, Problem, in_entry_points, in_folder
from moltbot_edge.kernel.registry import BUILTINS, Plugin, PluginClash, Registry

EPILOG = """\b
Examples:
  moltbot-edge plugins
  moltbot-edge plugins --config /etc/moltbot/moltbot.yaml --json
  moltbot-edge plugins --modules

Exit code: 0 no problems, 1 problems, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, whose folder is looked at.")
@click.option("--modules", is_flag=True, help="Print what of the standard library a plug-in may import, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def plugins(ctx: click.Context, file: Path | None, modules: bool, as_json: bool) -> None:
    """List the plug-ins of `plugins.folder` and of installed packages, and the built-in ones.

    Every file's code is run, as `serve` does at its start. Without --config: the file that `serve` would take.
    """
    if modules:
        _print_modules(as_json)
        return
    reading = read(find_config(file, os.environ), os.environ)
    folder = reading.config.plugins.folder
    found = (in_folder(Path(folder)) if folder is not None else Found()) + in_entry_points()
    problems = [*_of_the_folder(reading), *found.problems, *_clashes(found.plugins)]
    if as_json:
        _print_json(folder, found.plugins, problems)
    else:
        _print_table(folder, found.plugins, problems)
    ctx.exit(1 if problems else 0)


def _of_the_folder(reading: Reading) -> list[Problem]:
    """What keeps the folder from being known. The rest of the configuration is for `check`."""
    return [
        Problem(one.source, one.line, f"{one.path}: {one.message}".removeprefix(": "))
        for one in reading.errors
        if one.path.partition(".")[0] in ("", "plugins")
    ]


def _clashes(found: Sequence[Plugin]) -> list[Problem]:
    try:
        Registry(found)
    except PluginClash as error:
        return [Problem("plugins", None, str(error))]
    return []


def _is_built_in(kind: str, name: str) -> bool:
    return name in BUILTINS.get(kind, ())


def _print_table(folder: str | None, found: Sequence[Plugin], problems: Sequence[Problem]) -> None:
    click.echo(f"folder: {folder or 'none; set plugins.folder in the configuration'}")
    own = {(one.kind, one.name) for one in found}
    rows = [
        (
            one.kind,
            one.name,
            one.origin + (", in place of the built-in one" if _is_built_in(one.kind, one.name) else ""),
        )
        for one in found
    ]
    rows += [(kind, name, "built in") for kind, names in BUILTINS.items() for name in names if (kind, name) not in own]
    width = max(len(name) for _, name, _ in rows)
    for kind, name, origin in rows:
        click.echo(f"  {kind:8} {name:{width}}  {origin}")
    for problem in problems:
        click.echo(str(problem))


def _print_json(folder: str | None, found: Sequence[Plugin], problems: Sequence[Problem]) -> None:
    listed = [
        {
            "kind": one.kind,
            "name": one.name,
            "origin": one.origin,
            "replaces_built_in": _is_built_in(one.kind, one.name),
        }
        for one in found
    ]
    said = {
        "folder": folder,
        "plugins": listed,
        "built_in": {kind: list(names) for kind, names in BUILTINS.items()},
        "problems": [{"origin": one.origin, "line": one.line, "message": one.message} for one in problems],
    }
    click.echo(json.dumps(said))


def _print_modules(as_json: bool) -> None:
    listed = binary.plugin_modules()
    names = sorted(sys.stdlib_module_names if listed is None else listed)
    public = [name for name in names if not name.startswith("_")]
    if as_json:
        click.echo(json.dumps({"modules": public, "whole_library": listed is None}))
        return
    for name in public:
        click.echo(name)
    if listed is None:
        click.echo("This runs from source, with all of Python's library. The one-file binary has fewer.", err=True)
