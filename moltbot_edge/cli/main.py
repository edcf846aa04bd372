"""``moltbot-edge``: the commands by name. A command's module is imported when it is called, so help costs nothing.

A frozen binary does not see these imports: its recipe has to name ``moltbot_edge.cli.*``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import click

from moltbot_edge import __version__


class Listed(NamedTuple):
    purpose: str
    example: str


COMMANDS: Final[Mapping[str, Listed]] = {
    "serve": Listed("the gateway; no command means this", "moltbot-edge serve --config moltbot.yaml --port 8080"),
    "check": Listed("every problem of a configuration, with its line", "moltbot-edge check moltbot.yaml"),
    "keys": Listed("a secret for a caller, and its line for the configuration", "moltbot-edge keys new kitchen"),
    "models": Listed("the models of this board: list, load, unload, remove, pull", "moltbot-edge models list"),
    "plugins": Listed("what was found of plug-ins, and what they may import", "moltbot-edge plugins --modules"),
    "sessions": Listed(
        "kept conversations: list, show, export, import, delete, compact", "moltbot-edge sessions show talk"
    ),
    "router": Listed("where a request would go, and why", "moltbot-edge router explain request.json"),
}
OWN_OPTIONS: Final = ("-h", "--help", "--version")


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"moltbot_edge.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in OWN_OPTIONS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            hint = f"; to serve with this file: moltbot-edge serve --config {name}" if "." in name else ""
            ctx.fail(f"no command is named {name!r}; there are: {', '.join(COMMANDS)}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, not from the commands: none of them is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.purpose) for name, command in COMMANDS.items()])
        with formatter.section("Examples"):
            for command in COMMANDS.values():
                formatter.write_text(command.example)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="moltbot-edge", message="%(prog)s %(version)s")
def cli() -> None:
    """One address on the LAN for every language model in reach: GGUF files on this board, other machines, cloud APIs.

    With no file at all it serves the GGUF files of ./models and /var/lib/moltbot/models on 127.0.0.1:8080.
    `moltbot-edge COMMAND --help` tells more of each command.
    """
