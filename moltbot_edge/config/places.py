"""Where sessions lie, also when nobody says where. Source: systemd.exec(5) and the XDG Base Directory Specification.

Nothing is made here: a folder comes with the first session.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moltbot_edge.config.schema import Sessions

SYSTEM: Final = Path("/var/lib/moltbot/sessions")  # the default of `sessions.path`


def sessions_folder(environment: Mapping[str, str], system: Path = SYSTEM) -> Path:
    """A service's own folder, or XDG's; else the *system*'s where it is ours or could be; else one in a home.

    The *system*'s stays the one when its disk can only be read: what is kept elsewhere then would be missing after.
    """
    first = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if first.startswith("/"):
        return Path(first) / "sessions"
    said, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    if said.startswith("/"):
        return Path(said) / "moltbot-edge" / "sessions"
    if home.startswith("/") and not _ours(system):
        return Path(home) / ".local" / "state" / "moltbot-edge" / "sessions"
    return system


def _ours(folder: Path) -> bool:
    for place in (folder, *folder.parents):
        try:
            state = place.stat()
        except FileNotFoundError:
            continue  # it would be made in the one above
        except OSError:
            return False
        return state.st_uid == os.geteuid() or os.access(place, os.W_OK)
    return False


def can_be_kept(said: Sessions) -> bool:
    """Whether this user may write where they are to lie, as far as it is seen without writing."""
    if said.store != "disk":
        return True
    folder = Path(said.path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # it would be made in the one above
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def sessions_where(said: Sessions) -> str:
    """For people, without a password."""
    match said.store:
        case "disk":
            return f"in {said.path}"
        case "memory":
            return "in memory, until this ends"
        case "redis":
            server = said.url.partition("?")[0].rpartition("@")[2]
            return f"at the Redis server {server.partition('://')[2] or server}"
    return f"by the plug-in {said.store!r}"
