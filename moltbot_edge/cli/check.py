"""``moltbot-edge check``: what is wrong with a configuration, all of it, before anything is started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from moltbot_edge.cli.reading import read_here
from moltbot_edge.config.load import Reading, find_config, model_stores
from moltbot_edge.config.problem import Problem
from moltbot_edge.local.store import found_models

EPILOG = """\b
Examples:
  moltbot-edge check
  moltbot-edge check /etc/moltbot/moltbot.yaml
  moltbot-edge check --probe
  moltbot-edge check --schema > moltbot.schema.json

Exit code: 0 no problems, 1 problems, 2 wrong usage. Warnings do not count."""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the configuration, for an editor, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as one JSON object.")
@click.option("--probe", is_flag=True, help="Ask every endpoint what it is, and print what it answers.")
@click.pass_context
def check(ctx: click.Context, file: Path | None, schema: bool, as_json: bool, probe: bool) -> None:
    """Print every problem of FILE with its line, what was found and what would be right.

    Without FILE: the one that `serve` would take, $MOLTBOT_EDGE_CONFIG, ./moltbot.yaml or /etc/moltbot/moltbot.yaml.
    The environment counts as it does for `serve`. Nothing is started, and no machine is
    asked without --probe.
    """
    if schema:
        from moltbot_edge.config.json_schema import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    from moltbot_edge.cli.probe import probed  # with the gateway's parts

    path = find_config(file, os.environ)
    reading, registry = read_here(path)
    name = str(path) if path is not None else "no configuration file"
    if as_json:
        said: dict[str, Any] = {"file": path and str(path), "problems": [_object(one) for one in reading.problems]}
        if probe and not reading.errors:
            said["endpoints"] = [one.as_object() for one in probed(reading.config, registry, os.environ)]
        click.echo(json.dumps(said))
    else:
        for problem in reading.problems:
            click.echo(str(problem))
        click.echo(f"{name}: {_counted(reading)}. {_summary(reading)}".strip())
        if probe and not reading.errors:
            for one in probed(reading.config, registry, os.environ):
                click.echo(one.as_text())
    ctx.exit(1 if reading.errors else 0)


def _object(problem: Problem) -> dict[str, Any]:
    return {
        "level": "warning" if problem.warning else "error",
        "source": problem.source,
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
    }


def _counted(reading: Reading) -> str:
    errors, warnings = len(reading.errors), len(reading.warnings)
    words = _number(errors, "problem", "problems") if errors else "no problems"
    return f"{words}, {_number(warnings, 'warning', 'warnings')}" if warnings else words


def _summary(reading: Reading) -> str:
    if reading.errors:
        return ""
    config = reading.config
    found = found_models(model_stores(config, reading.path))
    named = {model.name for model in config.model_registry}
    served = named | {name for name in found if name not in config.aliases}
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    return ", ".join(
        (
            _number(len(served), "model", "models"),
            _number(len(config.aliases), "alias", "aliases"),
            f"listening on {host}:{config.server.port}" + (" with TLS" if config.server.tls else ""),
        )
    )


def _number(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
