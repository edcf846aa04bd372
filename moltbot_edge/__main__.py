"""``python -m moltbot_edge``, and what the installed command calls."""

from __future__ import annotations

import gc


def main() -> None:
    # What a start makes stays to the end: to look for garbage in it takes 15 ms. `serve` turns it on again.
    gc.disable()
    from moltbot_edge.cli.main import cli

    cli(prog_name="moltbot-edge")


if __name__ == "__main__":
    main()
