"""Where a bundle begins. PyInstaller runs it as ``__main__``.

The one file is two processes: the first unpacks, waits and clears up, the second is this one. When the first is killed
this one would serve on, known to nobody, so it asks to go too. A folder's program is one process, below its parent.

Either was started with the bundle's own libraries in LD_LIBRARY_PATH. An engine has to find the machine's.
"""

import os
import signal
import sys

from moltbot_edge.__main__ import main
from moltbot_edge.binary import death_signal

FOLDER = "_internal"  # where a folder's program has its files, as PyInstaller names it

bundled: str = sys._MEIPASS  # type: ignore[attr-defined]

die_with_parent = death_signal()
if die_with_parent is not None and os.path.basename(bundled) != FOLDER:
    die_with_parent(signal.SIGKILL)

libraries = [folder for folder in os.environ.pop("LD_LIBRARY_PATH", "").split(":") if folder not in ("", bundled)]
if libraries:
    os.environ["LD_LIBRARY_PATH"] = ":".join(libraries)

main()
