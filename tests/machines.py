"""Other machines by name, all of them on loopback: the one thing that no test can have for real."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scripted_upstream import Upstream

from moltbot_edge.network.names import Names

LOCAL = "near.local", "other.local", "third.local"
PUBLIC = "cloud.example"


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads here."""

    async def here(self: Names, host: str) -> Sequence[str]:
        return ("127.0.0.1",)

    monkeypatch.setattr(Names, "addresses", here)


def on(machine: str, box: Upstream | str) -> str:
    """*box*'s URL, as if it were on *machine*."""
    url = box if isinstance(box, str) else box.url
    return url.replace("127.0.0.1", machine)
