"""Debian's pool of signed source packages, asked with an apt state of its own on the mirror that this machine uses.

apt checks the archive's signature on the index and the index's hashes on every file. The machine's own lists and its
choice of release are neither read nor changed. Not here: which version is wanted (`pins`), and when to ask (`sources`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Final

from build.binary.store import BuildFailed

RELEASE: Final = "trixie"
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE: Final = "MOLTBOT_EDGE_DEBIAN_MIRROR"
TIMEOUT_S: Final = 30
NEEDED: Final = {"apt-get": "apt", "apt-cache": "apt", "dpkg": "dpkg", "dpkg-source": "dpkg-dev"}


class PoolUnreachable(Exception):
    """The pool, or a file that it lists, could not be had. The text is apt's."""


@dataclass(frozen=True)
class Pool:
    """*sources* are lines of an apt sources list; *folder* keeps apt's state between builds."""

    folder: Path
    sources: Sequence[str]

    def refresh(self) -> None:
        """Fetch the signed index anew. Raises `PoolUnreachable`."""
        self._apt("apt-get", "update", "--error-on=any")

    @property
    def refreshed(self) -> bool:
        return any((self.folder / "lists").glob("*_Sources*"))

    def versions(self, name: str) -> list[str]:
        """Those that the index has of source package *name*, as of the last `refresh`, the newest first."""
        listed = self._apt("apt-cache", "showsrc", "--only-source", name, may_fail=True)
        found = {*re.findall(r"(?m)^Version: (\S+)$", listed)}
        return sorted(found, key=cmp_to_key(_compared), reverse=True)

    def fetch(self, name: str, version: str, folder: Path) -> None:
        """Bring all files of one version into *folder*. Raises `PoolUnreachable`."""
        self._apt("apt-get", "source", "--download-only", "--only-source", f"{name}={version}", cwd=folder)

    def _apt(self, program: str, *words: str, cwd: Path | None = None, may_fail: bool = False) -> str:
        done = subprocess.run(
            [program, *words],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "APT_CONFIG": str(self._configuration())},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0 and not may_fail:
            said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))] or [done.stderr.strip()]
            raise PoolUnreachable("\n".join(f"  {line}" for line in said[:4]))
        return done.stdout

    def _configuration(self) -> Path:
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text("".join(f"{line}\n" for line in self.sources))
        file = self.folder / "apt.conf"
        file.write_text(
            f'Dir::Etc::sourcelist "{self.folder}/sources.list";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            f'Dir::State::lists "{self.folder}/lists";\n'
            f'Dir::Cache "{self.folder}/cache";\n'
            f'Acquire::http::Timeout "{TIMEOUT_S}";\nAcquire::https::Timeout "{TIMEOUT_S}";\n'
            'Acquire::Retries "1";\n'
            'Acquire::Languages "none";\n'
            # The folder is the caller's own, which apt's download user cannot enter.
            'APT::Sandbox::User "root";\n'
        )
        return file


def machine_pool(folder: Path, environment: Mapping[str, str] = os.environ) -> Pool:
    """The pool on the mirror that this machine's own apt uses, with its security archive if it uses one."""
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            raise BuildFailed(f"no {program} here; the sources are Debian's signed packages: apt-get install {package}")
    if not KEYRING.exists():
        raise BuildFailed(f"no {KEYRING}, which the sources are checked with: apt-get install debian-archive-keyring")
    return Pool(folder, _lines(*machine_archives(environment)))


def machine_archives(environment: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """The addresses of Debian's archive and of its security archive, if this machine uses one. Raises `BuildFailed`."""
    if named := environment.get(MIRROR_VARIABLE):
        return named.rstrip("/"), None
    main, security = _archives(_index_targets())
    if main is None:
        raise BuildFailed(
            f"this machine's apt is not set up for a Debian archive; name one: {MIRROR_VARIABLE}=URL, "
            "the folder that holds dists/ and pool/"
        )
    return main, security


def _compared(one: str, other: str) -> int:
    return 1 if newer(one, other) else -1


def newer(version: str, than: str) -> bool:
    """By Debian's order of versions."""
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", than]).returncode == 0


def _index_targets() -> str:
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(SIGNED_BY)", "Identifier: Packages"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return told.stdout


def _archives(targets: str) -> tuple[str | None, str | None]:
    """The addresses of Debian's main and security archives among apt's *targets*: they are named so on every mirror."""
    main = security = None
    for line in targets.splitlines():
        uri, release, *_ = line.split()
        uri = uri.rstrip("/")
        if uri.endswith("/debian"):
            main = main or uri
        elif uri.endswith("/debian-security") or release.endswith("-security"):
            security = security or uri
    return main, security


def _lines(main: str, security: str | None) -> list[str]:
    def line(archive: str, suite: str) -> str:
        return f"deb-src [signed-by={KEYRING}] {archive} {suite} main"

    lines = [line(main, RELEASE), line(main, f"{RELEASE}-updates")]
    return lines if security is None else [*lines, line(security, f"{RELEASE}-security")]
