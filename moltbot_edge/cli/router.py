"""``moltbot-edge router``: where a request would go, and why, as the gateway that runs knows it.

No machine is asked: neither by the gateway, nor where none runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from moltbot_edge.cli.reading import read_here
from moltbot_edge.config.catalog import catalog_of
from moltbot_edge.config.load import KEY_VARIABLE, Reading, find_config, model_stores
from moltbot_edge.config.schema import Alias
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.head import read_head
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.explanation import Explained, Explanation, asked, explained
from moltbot_edge.gateway.home import guarded
from moltbot_edge.gateway.keeping import read as read_kept
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.kernel.registry import PluginError, Registry
from moltbot_edge.local.store import found_models
from moltbot_edge.metrics.catalogue import Metrics

EPILOG = """\b
Examples:
  moltbot-edge router explain request.json
  moltbot-edge router explain --config /etc/moltbot/moltbot.yaml --json request.json
  echo '{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}' | moltbot-edge router explain -

Exit code: 0 explained, 1 problems, 2 wrong usage."""


@click.group(epilog=EPILOG)
def router() -> None:
    """Where a request would go."""


@router.command(epilog=EPILOG)
@click.argument("request", type=click.File("rb"), metavar="FILE")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, a YAML file.")
@click.option("--key", envvar=KEY_VARIABLE, help="An administrator's key, where the gateway wants one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain(ctx: click.Context, request: Any, file: Path | None, key: str | None, as_json: bool) -> None:
    """Print for the request in FILE (- for standard input) how hard it looks, and where it would go.

    FILE holds the JSON body that a caller would send. The gateway that runs at server.host and server.port is asked,
    for what it has measured; no machine is. Where none runs, every machine counts as idle and of unknown speed; what
    was learned is known all the same, where router.experience names its file.
    """
    path = find_config(file, os.environ)
    reading, registry = read_here(path)
    if reading.errors:
        for problem in reading.errors:
            click.echo(str(problem), err=True)
        ctx.exit(1)
    body = request.read()
    from moltbot_edge.cli.running import Refused, running  # with httpx

    try:
        with running(reading.config, key) as gateway:
            said = gateway.explanation(body)
        basis = "as predicted now" if said is not None else "without speeds, as no gateway runs"
        explanation = said or _explained_here(reading, path, registry, body)
    except (GatewayError, PluginError, Refused) as error:
        click.echo(str(error), err=True)
        ctx.exit(1)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(explanation)))
    else:
        _print(explanation, basis)


def _explained_here(reading: Reading, path: Path | None, registry: Registry, body: bytes) -> Explanation:
    """By a gateway that has just started, as far as a router goes."""
    config = reading.config
    stores = model_stores(config, path)
    catalog = catalog_of(config, found_models(stores), stores)
    route = catalog.route(read_head(body).model)
    alias = config.aliases.get(route.alias)
    options: Mapping[str, Any] = alias.options if isinstance(alias, Alias) else {}
    metrics = Metrics()
    experience = Experience(0, b"", time.time, str, metrics.lessons)
    if config.router.experience is not None:
        experience.remember(read_kept(Path(config.router.experience)))
    planner = Planner(
        {route.alias: registry.build("policy", route.policy, options)},
        Standings(),
        experience,
        metrics,
        now=lambda: 0.0,
        chance=lambda: 0.0,
        guarded=guarded({route.alias: route}),
    )
    dialects = Dialects({}, lambda name: registry.build("dialect", name))
    return explained(asked(body, dialects), catalog, dialects, planner)


def _print(explanation: Explanation, basis: str) -> None:
    brings = [name for name, there in (("tools", explanation.tools), ("images", explanation.images)) if there]
    signs = ", ".join(f"{name} {value:.2f}" for name, value in explanation.signs.items())
    click.echo(f"model    {explanation.alias}, policy {explanation.policy}")
    click.echo(
        f"asks     {explanation.characters} characters in question {explanation.turns}, about "
        f"{explanation.prompt_tokens} tokens in all{''.join(f', with {name}' for name in brings)}"
    )
    click.echo(f"score    {explanation.score:.2f}" + (f": {signs}" if signs else ""))
    click.echo(f"cohort   {explanation.cohort}")
    click.echo(f"reason   {explanation.reason or 'the policy gives none'}")
    if explanation.instead:
        click.echo(f"out      all of them are, so that others are asked before: {', '.join(explanation.instead)}")
    click.echo(f"order    {basis}")
    width = max(len(one.deployment) for one in explanation.deployments)
    for one in sorted(explanation.deployments, key=lambda one: (one.place is None, one.place)):
        place = "-" if one.place is None else str(one.place)
        said = "; ".join(one.ruled_out) if one.ruled_out else _expectation(one)
        click.echo(f"  {place:>2}  {one.deployment:{width}}  {said}")


def _expectation(one: Explained) -> str:
    said = ["speed unknown" if one.first_token_s is None else f"first token in {one.first_token_s:.2f} s"]
    if one.cached_tokens:
        said.append(f"{one.cached_tokens} tokens held")
    if one.ready_s:
        said.append(f"{one.ready_s:.1f} s of it to load")
    if one.in_flight:
        said.append(f"{one.in_flight} in flight")
    if one.expected_good is None:
        return f"{', '.join(said)}; nothing known of its answers"
    good = f"a good answer to be expected with {one.expected_good:.2f}, from {one.answers_known:.1f} known"
    return f"{', '.join(said)}; {good}"
