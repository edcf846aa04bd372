"""The whole benchmark, small. Not among the everyday tests, because the first time it fetches and builds Go programs:

python -m pytest tests/scripts/bench_end_to_end.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from benchmark import measure

BENCH = Path(__file__).parents[2] / "scripts/bench"
SMALL = ["--rounds", "1", "--starts", "1", "--seconds", "0.2", "--clients", "50"]
COSTS = {"cpu_us_per_request", "cpu_us_per_event", "idle_rss_bytes", "peak_rss_bytes", "start_ms"}


def test_one_run_gives_a_table_and_all_samples(tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    done = subprocess.run(
        [BENCH, "--only", "nginx,go", *SMALL, "--json", file], capture_output=True, text=True, check=True
    )
    rows = {row["name"]: row for row in json.loads(file.read_text())["targets"]}
    assert set(rows) == {"nginx", "go"}
    assert rows["go"]["answers"] == {"200": 50}
    assert not rows["go"]["troubles"]
    assert all(rows["go"]["samples"][figure][0] > 0 for figure in COSTS)
    # Where nginx is not installed, its row says so: the benchmark installs nothing on the machine.
    assert "samples" in rows["nginx"] or "not installed" in rows["nginx"]["why"]
    assert "go go1." in done.stdout
    assert "the stub itself:" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_broken_off_leaves_no_process(number: signal.Signals) -> None:
    with subprocess.Popen(
        [BENCH, "--only", "go", "--starts", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        for line in bench.stderr:
            if "streams" in line:
                break
        family = measure.tree(bench.pid)
        bench.send_signal(number)
        bench.communicate(timeout=20)
    assert bench.returncode == 130
    assert len(family) >= 3, "the stub and the target were running"
    assert not [pid for pid in family if os.path.exists(f"/proc/{pid}")]


def test_two_runs_at_once_are_refused() -> None:
    with subprocess.Popen([BENCH, "--only", "go"], stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if "go: start" in line)
        second = subprocess.run([BENCH, "--only", "go"], capture_output=True, text=True, check=False)
        first.terminate()
    assert second.returncode == 1
    assert "another run is under way" in second.stderr


def test_an_unknown_target_is_answered_with_those_there_are() -> None:
    done = subprocess.run([BENCH, "--only", "envoy"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no target named envoy; there is: moltbot-edge, nginx, go" in done.stderr
