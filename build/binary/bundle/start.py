"""Where a bundle begins. PyInstaller runs it as ``__main__``.

The one file is two processes: the first unpacks, waits and clears up, the second is this one. When the first is killed
this one would serve on, known to nobody, so it asks to go too. A folder's program is one process, below its parent.
"""

import os
import signal
import sys

from moltbot_edge.__main__ import main
from moltbot_edge.binary import death_signal

FOLDER = "_internal"  # where a folder's program has its files, as PyInstaller names it

# The bootloader put the bundle's folder there, for this process alone: an engine is not to find a libpython in it.
if (original := os.environ.pop("LD_LIBRARY_PATH_ORIG", None)) is not None:
    os.environ["LD_LIBRARY_PATH"] = original
else:
    os.environ.pop("LD_LIBRARY_PATH", None)

die_with_parent = death_signal()
if die_with_parent is not None and os.path.basename(sys._MEIPASS) != FOLDER:  # type: ignore[attr-defined]
    die_with_parent(signal.SIGKILL)

main()
