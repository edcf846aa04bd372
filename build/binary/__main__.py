"""``scripts/build``: one file that runs, for a machine and by a builder, with its hash and its list of contents."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from build.binary.contents import WrongContents
from build.binary.store import BuildFailed, Store, cache_folder, spoken
from build.binary.toolchain import ARCHITECTURES

ROOT: Final = Path(__file__).resolve().parents[2]
BUILDERS: Final = {
    "static": "build.binary.static",
    "pyinstaller": "build.binary.bundle.pyinstaller",
    "nuitka": "build.binary.bundle.nuitka",
}
MIB: Final = 1 << 20

DESCRIPTION: Final = """\
Build moltbot-edge as one file and put it into dist/, with its SHA-256 and its SBOM.

  static       one executable that needs nothing of the machine it runs on, not even a libc: the release
  pyinstaller  a bundle with CPython's shared library, for plug-ins with a part in C; needs glibc
  nuitka       such a bundle with the package itself compiled to machine code; needs glibc

Any of them is built for either machine on either; nothing is emulated."""

EPILOG: Final = """\
examples:
  scripts/build                            for this machine
  scripts/build --arch aarch64             for a Raspberry Pi or a Jetson
  scripts/build --with pyinstaller

The first build of a machine compiles CPython, OpenSSL and SQLite: some 20 minutes on two cores, on a Debian or a
derivative of it (the sources come as its source packages: apt and dpkg-dev). What is finished is kept, so the next
build takes a minute or two, and one that was interrupted goes on where it was. It is kept in
{cache}
which may be removed at any time; $MOLTBOT_EDGE_BUILD_CACHE names another place."""


def main(arguments: Sequence[str] | None = None) -> int:
    machine = platform.machine()
    parser = argparse.ArgumentParser(
        prog="scripts/build",
        description=DESCRIPTION,
        epilog=EPILOG.format(cache=cache_folder()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--arch",
        choices=ARCHITECTURES,
        default=machine if machine in ARCHITECTURES else None,
        help="the machine it is to run on (default: this one's)",
    )
    parser.add_argument(
        "--with", dest="builder", choices=BUILDERS, default="static", help="who makes it (default: static)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="default: dist")
    asked = parser.parse_args(arguments)
    if asked.arch is None:
        parser.error(
            f"this machine is {machine}, for which there is no build; say --arch {' or --arch '.join(ARCHITECTURES)}"
        )
    begun = time.monotonic()
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        made = importlib.import_module(BUILDERS[asked.builder]).build(asked.arch, asked.out)
        Store().prune(time.time())
    except (BuildFailed, WrongContents) as error:
        print(f"not built: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"not built: {error}; the cache is {cache_folder()}, the output goes to {asked.out}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"built in {spoken(time.monotonic() - begun)}:", file=sys.stderr)
    for path in made:
        print(f"{_shown(path)}  {path.stat().st_size / MIB:.2f} MiB")
    return 0


def _shown(path: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


if __name__ == "__main__":
    sys.exit(main())
