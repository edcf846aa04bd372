"""The one-file binary as its own code sees it: what its launcher can do and what was put in. From source: nothing.

``_native`` is C inside the launcher, ``_contents`` a module that the build writes, and data lie in a zip after the
executable's own bytes (build/binary/). Nothing of it is unpacked, so a module has no file beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def death_signal() -> Callable[[int], None] | None:
    """What asks the kernel for a signal to this process when its parent ends (``prctl(2)``, PR_SET_PDEATHSIG)."""
    try:
        from moltbot_edge._native import set_parent_death_signal
    except ImportError:
        return None
    return set_parent_death_signal


def release_frozen_pages() -> None:
    """Give back the pages of bytecode that starting has read; one that is needed again comes from the file again."""
    try:
        from moltbot_edge._native import release_frozen_pages as release
    except ImportError:
        return
    release()


def plugin_modules() -> tuple[str, ...] | None:
    """What of the standard library a plug-in may import; None where all of it is there."""
    try:
        from moltbot_edge._contents import PLUGIN_MODULES
    except ImportError:
        return None
    return tuple(PLUGIN_MODULES)


def data(name: str) -> bytes | None:
    """The file *name* of the zip after the executable, such as ``certifi/cacert.pem``; None where it is not whole."""
    import zipimport
    import zlib

    try:
        return zipimport.zipimporter(sys.executable).get_data(name)
    except (zipimport.ZipImportError, OSError, zlib.error):
        return None
