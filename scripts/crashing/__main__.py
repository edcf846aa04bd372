"""Command line of the trial. What was found goes to standard output, exit status 1 where it is not as promised."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from crashing.course import Found, Trial, run
from crashing.gateway import SOURCE

SAID_S = 10.0
FAULTS = 40  # shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", default=shlex.join(SOURCE), help="a built gateway, with `serve`, in its place")
    parser.add_argument("--gateways", type=int, default=1, help="on one Redis, of which one is killed at a time")
    parser.add_argument("--redis", action="store_true", help="sessions at a redis-server of its own")
    parser.add_argument(
        "--power",
        action="store_true",
        help="only what was synchronised is left; takes a C compiler, and no static gateway",
    )
    parser.add_argument("--folder", type=Path, help="where the sessions are; left there; a temporary one without")
    chosen = parser.parse_args()
    if chosen.gateways > 1 and not chosen.redis:
        parser.error("several gateways share their sessions with --redis only")
    with contextlib.ExitStack() as stack:
        folder = chosen.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moltbot-crash-")))
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "sessions").exists():
            parser.error(f"{folder} has sessions already")
        url = stack.enter_context(redis_server(folder)) if chosen.redis else None
        command = shlex.split(chosen.command)
        trial = Trial(chosen.kills, chosen.callers, chosen.seed, command, url, chosen.power, chosen.gateways)
        said, shown = [time.monotonic()], [0]

        def progress(found: Found) -> None:
            for fault in found.faults[shown[0] : FAULTS]:
                print(f"kill {found.kills}: {fault}", file=sys.stderr, flush=True)
            shown[0] = len(found.faults)
            if time.monotonic() - said[0] > SAID_S:
                said[0] = time.monotonic()
                told = f"{found.kills} of {trial.kills} kills, {found.seen} replies seen, {len(found.faults)} faults"
                print(f"{told}, {found.took_s / 60:.1f} min", file=sys.stderr, flush=True)

        found = asyncio.run(run(trial, folder, progress))
        print(table(found))
        if found.faults:
            print(*found.faults[:FAULTS], sep="\n")
            for log in folder.glob("*.log"):
                print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
    return 1 if found.faults else 0


def table(found: Found) -> str:
    return "\n".join(
        [
            f"killed {found.kills} times: {found.aimed} at a reply's end, {found.idle} before it served",
            f"replies seen to their end {found.seen}, cut by a kill {found.cut}",
            f"turns kept {found.kept}, in {found.sessions} sessions; shown to the upstream {found.shown} times",
            f"faults {len(found.faults)}; {found.took_s / 60:.1f} minutes",
        ]
    )


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("no redis-server: apt install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(500):
                try:
                    with socket.create_connection(("127.0.0.1", port), 1):
                        break
                except OSError:
                    time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
