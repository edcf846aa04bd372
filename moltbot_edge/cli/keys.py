"""``moltbot-edge keys``: secrets for callers. Nothing is stored: the hash goes into the file by its owner's hand."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping

import click

PREFIX = "sk-moltbot-"  # so that a scanner, or a person, knows a leaked one for what it is
SECRET_BYTES = 32

EPILOG = """\b
Examples:
  moltbot-edge keys new kitchen
  moltbot-edge keys new tablet --models chat,small
  moltbot-edge keys new ci --json"""


@click.group(epilog=EPILOG)
def keys() -> None:
    """Secrets for callers. The configuration holds their hashes only."""


@keys.command(epilog=EPILOG)
@click.argument("name")
@click.option("--models", metavar="A,B", help="The only models and aliases that it may use.")
@click.option("--admin", is_flag=True, help="It may see what /admin shows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(name: str, models: str | None, admin: bool, as_json: bool) -> None:
    """Make a secret for NAME; print it, this once, and the line for the configuration.

    Callers send it as `Authorization: Bearer SECRET` or as `x-api-key: SECRET`.
    """
    if not name.strip():
        raise click.BadParameter("a key needs a name: whose it is", param_hint="NAME")
    allowed = None if models is None else [model.strip() for model in models.split(",") if model.strip()]
    if allowed == []:
        raise click.BadParameter("names no model; leave it out to allow all", param_hint="--models")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    # 256 random bits need no salt and no slow hash.
    key = {"name": name, "hash": f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"}
    rights: dict[str, object] = {
        **({} if allowed is None else {"models": allowed}),
        **({"admin": True} if admin else {}),
    }
    line = _line({**key, **rights})
    if as_json:
        click.echo(json.dumps({"secret": secret, **key, **rights, "line": line}))
        return
    click.echo(f"The secret of {name}, shown this once:\n\n  {secret}\n")
    click.echo(f"For the configuration, below `keys:`\n\n{line}")


def _line(fields: Mapping[str, object]) -> str:
    """One entry of the list. JSON's quotes are YAML's too, whatever the name holds."""
    inside = ", ".join(f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in fields.items())
    return f"  - {{{inside}}}"
