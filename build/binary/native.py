"""``python -m build.binary.native --arch ARCH``: the steps that end in archives and objects, and where those are.

For whoever wants the compiled parts without the file; the whole build makes the same steps. Not here: the link.
"""

from __future__ import annotations

import argparse
import sys
import time

from build.binary.extensions import objects
from build.binary.interpreter import host_python, python
from build.binary.store import BuildFailed, Store, spoken
from build.binary.toolchain import ARCHITECTURES, Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m build.binary.native", description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, required=True)
    options = parser.parse_args()
    store, begun = Store(), time.monotonic()
    try:
        print(host_python(store))
        interpreter = python(store, Target(options.arch))
        for path in (*interpreter.archives, *objects(store, interpreter)):
            print(path)
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    store.prune(time.time())
    store.say(f"{options.arch}: all parts are there after {spoken(time.monotonic() - begun)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
