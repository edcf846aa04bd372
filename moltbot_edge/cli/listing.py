"""A command with commands of its own, of which `list` is what is meant when none is named."""

from __future__ import annotations

import click


class Listing(click.Group):
    """Without a command: `list`, with its options. Options may stand before the command too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            place = next((place for place, arg in enumerate(args) if arg in self.commands), None)
            args = ["list", *args] if place is None else [args[place], *args[:place], *args[place + 1 :]]
        return super().parse_args(ctx, args)
