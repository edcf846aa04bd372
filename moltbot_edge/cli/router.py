"""``moltbot-edge router``: where a request would go, and why. Nothing is asked: no machine, no running gateway."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from moltbot_edge.cli.reading import read_here
from moltbot_edge.config.catalog import catalog_of
from moltbot_edge.config.load import Reading, find_config, model_stores
from moltbot_edge.config.schema import Config
from moltbot_edge.core.catalog import Route
from moltbot_edge.core.difficulty import Difficulty, difficulty
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.experience import ALL, Tallies, Tally, expected
from moltbot_edge.core.head import read_head
from moltbot_edge.core.routing import Candidate, Choice, RouteQuery, eligible, objections
from moltbot_edge.gateway.keeping import read as read_kept
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.kernel.registry import PluginError, Registry
from moltbot_edge.local.store import found_models

EPILOG = """\b
Examples:
  moltbot-edge router explain request.json
  moltbot-edge router explain --config /etc/moltbot/moltbot.yaml --json request.json
  echo '{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}' | moltbot-edge router explain -

Exit code: 0 explained, 1 problems, 2 wrong usage."""


class Explained(msgspec.Struct, frozen=True):
    """One deployment. *place* is when it would be tried, from 1; *first_token_s* what is predicted.

    *expected_good* is None where nothing at all is known of the model's answers.
    """

    deployment: str
    place: int | None
    ruled_out: Sequence[str]
    first_token_s: float | None
    answers_known: float
    expected_good: float | None


class Explanation(msgspec.Struct, frozen=True):
    alias: str
    policy: str
    characters: int
    turns: int
    prompt_tokens: int
    tools: bool
    images: bool
    score: float
    signs: Mapping[str, float]
    cohort: str
    reason: str
    deployments: Sequence[Explained]


@click.group(epilog=EPILOG)
def router() -> None:
    """Where a request would go."""


@router.command(epilog=EPILOG)
@click.argument("request", type=click.File("rb"), metavar="FILE")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration, a YAML file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain(ctx: click.Context, request: Any, file: Path | None, as_json: bool) -> None:
    """Print for the request in FILE (- for standard input) how hard it looks, and where it would go.

    FILE holds the JSON body that a caller would send. What a running gateway has measured is not known here: every
    machine counts as idle and of unknown speed. What it has learned is, where router.experience names its file.
    """
    path = find_config(file, os.environ)
    reading, registry = read_here(path)
    if reading.errors:
        for problem in reading.errors:
            click.echo(str(problem), err=True)
        ctx.exit(1)
    try:
        explanation = explained(reading, path, registry, request.read())
    except (GatewayError, PluginError) as error:
        click.echo(str(error), err=True)
        ctx.exit(1)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(explanation)))
    else:
        _print(explanation)


def explained(reading: Reading, path: Path | None, registry: Registry, body: bytes) -> Explanation:
    """Raises what the gateway would answer: no JSON, an unknown model."""
    config = reading.config
    stores = model_stores(config, path)
    head = read_head(body)
    route = catalog_of(config, found_models(stores), stores).route(head.model)
    prompt = registry.build("dialect", route.deployments[0].upstream.dialect).prompt(body)
    tallies = _tallies(config, route.alias)
    candidates = Standings().candidates(route.deployments, len(body))
    query = RouteQuery(
        route.alias,
        int(candidates[0].prompt_tokens or 0),
        head.session,
        chance=0.5,
        prompt=lambda: prompt,
        body=body,
        deployments=route.deployments,
        tallies=tallies,
    )
    choice = _choice(config, registry, route, candidates, query)
    looks = difficulty(prompt)
    return Explanation(
        alias=route.alias,
        policy=route.policy,
        characters=prompt.chars,
        turns=prompt.turns,
        prompt_tokens=query.prompt_tokens,
        tools=prompt.tools,
        images=prompt.images,
        score=looks.score,
        signs={sign.name: sign.most * sign.found for sign in looks.signs if sign.found},
        cohort=looks.cohort,
        reason=choice.reason,
        deployments=[_explained(one, choice, looks, query) for one in candidates],
    )


def _choice(
    config: Config, registry: Registry, route: Route, candidates: Sequence[Candidate], query: RouteQuery
) -> Choice:
    if len(route.deployments) == 1:
        return Choice(candidates, "there is only one")
    alias = config.aliases.get(route.alias)
    options: Mapping[str, Any] = alias.options if alias is not None and not isinstance(alias, str) else {}
    said = registry.build("policy", route.policy, options)(eligible(candidates, query), query)
    return said if isinstance(said, Choice) else Choice(said)


def _explained(candidate: Candidate, choice: Choice, looks: Difficulty, query: RouteQuery) -> Explained:
    deployment = candidate.deployment
    names = [one.deployment.name for one in choice.order]
    place = names.index(deployment.name) + 1 if deployment.name in names else None
    known = query.tallies(deployment.shared_name, looks.cohort)
    overall = query.tallies(deployment.shared_name, ALL)
    return Explained(
        deployment=deployment.name,
        place=place,
        # One that is tried all the same is what is left where all others were worse.
        ruled_out=[] if place is not None else objections(candidate, query) or ["the policy leaves it out"],
        first_token_s=candidate.first_token_s(query),
        answers_known=known.seen,
        expected_good=expected(known, overall) if overall.seen else None,
    )


def _tallies(config: Config, alias: str) -> Tallies:
    path = config.router.experience
    kept = read_kept(Path(path)) if path is not None else []
    found = {(one.model, one.cohort): Tally(one.good, one.bad, one.at) for one in kept if one.alias == alias}
    return lambda model, cohort: found.get((model, cohort), Tally())


def _print(explanation: Explanation) -> None:
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
    click.echo("order    without speeds, as no running gateway was asked")
    width = max(len(one.deployment) for one in explanation.deployments)
    for one in sorted(explanation.deployments, key=lambda one: (one.place is None, one.place)):
        place = "-" if one.place is None else str(one.place)
        said = "; ".join(one.ruled_out) if one.ruled_out else _expectation(one)
        click.echo(f"  {place:>2}  {one.deployment:{width}}  {said}")


def _expectation(one: Explained) -> str:
    seconds = "speed unknown" if one.first_token_s is None else f"first token in {one.first_token_s:.2f} s"
    if one.expected_good is None:
        return f"{seconds}; nothing known of its answers"
    return f"{seconds}; a good answer to be expected with {one.expected_good:.2f}, from {one.answers_known:.1f} known"
