"""Command line of the trials. What was found goes to standard output, exit status 1 where it is not as promised."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import parts

from swapping import comeback, course, kills, switches

QUIET = {"args": ["-t", "1", "--poll", "0"]}  # engines with more threads than cores wait for each other


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/swaps", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="trial")
    of_course = commands.add_parser("course", help="callers that ask for more models than fit (the default)")
    of_course.add_argument("--requests", type=int, default=200)
    of_course.add_argument("--callers", type=int, default=4)
    of_course.add_argument("--seed", type=int, default=1)
    of_course.add_argument("--min-warm-s", type=float, default=2.0, help="engines.min_warm_s")
    of_kills = commands.add_parser("kill", help="a gateway that is killed under load")
    of_kills.add_argument("--times", type=int, default=50)
    of_return = commands.add_parser("return", help="a conversation that comes back after a swap")
    of_switches = commands.add_parser("switch", help="what a swap costs, a warm switch, and memory as foretold")
    of_switches.add_argument("--times", type=int, default=12)
    for command in (of_course, of_kills, of_return, of_switches):
        command.add_argument("--engine", default=os.environ.get("MOLTBOT_EDGE_ENGINES_COMMAND"))
    chosen = parser.parse_args(sys.argv[1:] or ["course"])
    try:
        engine = str(parts.engine(chosen.engine))
        with tempfile.TemporaryDirectory(prefix="moltbot-swaps-") as folder:
            if chosen.trial == "kill":
                return _kill(engine, Path(folder), chosen.times)
            if chosen.trial == "return":
                return _return(engine, Path(folder))
            if chosen.trial == "switch":
                print(switches.table(switched(engine, Path(folder), chosen.times)))
                return 0
            return _course(engine, Path(folder), chosen)
    except parts.Unobtainable as error:
        print(error, file=sys.stderr)
        return 1


def _course(engine: str, folder: Path, chosen: argparse.Namespace) -> int:
    small, other = parts.model(), parts.base_model()
    trial = course.Trial(
        # Two of the small one, each a file of its own: whatever fits the third, these two do not fit together.
        models={"smollm2": (small, 8192), "smollm2-again": (small, 7168), "gemma": (other, 2048)},
        requests=chosen.requests,
        callers=chosen.callers,
        seed=chosen.seed,
        engines={**QUIET, "min_warm_s": chosen.min_warm_s},
    )
    found = asyncio.run(course.run(trial, engine, folder))
    waits = sorted(found.waits_s)
    print(f"requests {len(found.arrivals)}, of {trial.callers} callers, in {found.took_s:.0f} s")
    print(f"failed {len(found.failed)}")
    print(f"loads {found.loads}, by LRU of one on the same requests {found.loads_by_recency}")
    print(
        f"budget {found.budget_bytes >> 20} MiB; most at a sample {found.most:.1%} of it, of {len(found.sampled_bytes)}"
    )
    print(f"a request took {waits[len(waits) // 2]:.1f} s in the middle, {waits[-1]:.1f} s at most")
    for name, predicted in found.predicted_bytes.items():
        print(f"{name}: predicted {predicted >> 20} MiB, learned {found.measured_bytes[name] >> 20} MiB")
    print(*found.failed, sep="\n", end="")
    kept = not found.failed and found.most <= 1.05 and found.loads * 3 <= found.loads_by_recency * 2
    return 0 if kept else _with_log(folder)


def _kill(engine: str, folder: Path, times: int) -> int:
    models: list[Mapping[str, Any]] = []
    for name in ("one", "two"):
        shutil.copy(parts.model(), folder / f"{name}.gguf")
        models.append({"name": name, "file": f"{name}.gguf", "context_tokens": 1024})
    found = asyncio.run(kills.run(models, engine, folder, times, {**QUIET, "memory_mb": 300, "min_warm_s": 0.5}))
    print(f"killed {found.times} times, {found.in_mid_reply} of them in mid-reply")
    print(f"left behind {len(found.left)}, not served by the next {len(found.unserved)}")
    print(*found.left, *found.unserved, sep="\n", end="")
    return 0 if not found.left and not found.unserved else _with_log(folder)


def _return(engine: str, folder: Path) -> int:
    models: list[Mapping[str, Any]] = []
    for name in ("here", "there"):
        shutil.copy(parts.model(), folder / f"{name}.gguf")
        models.append({"name": name, "file": f"{name}.gguf"})
    one_fits = {"memory_mb": 460, "min_warm_s": 0.5, "context_tokens": 4096}
    found = asyncio.run(comeback.run(models, engine, folder, {**QUIET, **one_fits}))
    first, again = found.turns
    print(f"a prompt of {first.prompt_tokens} tokens: its first token after {first.first_token_s:.1f} s")
    print(f"then another model; {found.saved_bytes / 1e6:.0f} MB were saved")
    print(
        f"again, {again.prompt_tokens} tokens of which {again.cached_tokens} were cached:"
        f" after {again.first_token_s:.1f} s, {found.times:.1f} times sooner"
    )
    kept = found.cached >= 0.95 and found.times >= 10.0
    return 0 if kept else _with_log(folder)


def switched(engine: str, folder: Path, times: int) -> switches.Found:
    models = {
        "smollm2": (parts.model(), 4096),
        "smollm2-8k": (parts.model(), 8192),
        "gemma": (parts.base_model(), 2048),
    }
    return asyncio.run(switches.run(models, engine, folder, QUIET, times))


def _with_log(folder: Path) -> int:
    print((folder / "gateway.log").read_text(errors="replace")[-4000:], file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
