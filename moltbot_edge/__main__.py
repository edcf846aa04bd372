"""``python -m moltbot_edge``, and what the installed command calls."""

from __future__ import annotations


def main() -> None:
    from moltbot_edge.cli.main import cli

    cli(prog_name="moltbot-edge")


if __name__ == "__main__":
    main()
