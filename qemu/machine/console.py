"""The guest's serial console: lines that it prints, and words that it is told.

The scripts in ``guest/`` print what they have to say as ``BOARD name: value``, and wait for a word after ``BOARD
ready``. All else is the kernel's or the gateway's own output, and only kept. A kernel that panics ends the wait.
"""

from __future__ import annotations

import re
import select
import time
from dataclasses import dataclass
from typing import IO, Final

from .verdict import Failed, Log

TAKEN_PORT_S: Final = 0.5  # QEMU binds before it does anything else
LISTEN_ON_S: Final = 15.0
LINE_BYTES: Final = 8192

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# Not at the beginning only: a message of the kernel's may stand before it on the same line.
_MARK: Final = re.compile(r"BOARD (?P<name>[\w.-]+)(?:: ?(?P<value>.*))?$")
_END: Final = re.compile(r"Kernel panic - not syncing: (.*)|(Unable to mount root fs.*)|(Attempted to kill init.*)")


@dataclass(frozen=True)
class Mark:
    name: str
    value: str


class Said(dict[str, str]):
    """The values that a guest named. What it did not name is a failure of the run."""

    def __missing__(self, name: str) -> str:
        raise Failed(f"the guest did not say {name!r}")


def cleaned(line: bytes) -> str:
    """Without terminal escapes and carriage returns."""
    text = _ESCAPES.sub("", line.decode(errors="replace"))
    return "".join(character for character in text if character.isprintable() or character == "\t").rstrip()


def mark_of(line: str) -> Mark | None:
    found = _MARK.search(line)
    return None if found is None else Mark(found["name"], (found["value"] or "").strip())


def death_of(line: str) -> str | None:
    """What the kernel died of, if this is the line that says it."""
    found = _END.search(line)
    return None if found is None else next(group for group in found.groups() if group is not None)


class Console:
    def __init__(self, words: IO[bytes], lines: IO[bytes], log: Log) -> None:
        self._words = words
        self._lines = lines
        self._log = log
        self._begun = b""
        self._heard: list[str] = []
        self._ended = False

    def hears_of_a_taken_port(self) -> bool:
        deadline = time.monotonic() + TAKEN_PORT_S
        while (text := self._next(deadline)) is not None:
            self._heard.append(text)
            if "Could not set up host forwarding" in text:
                return True
        return False

    def told(self, word: str, limit_s: float) -> Said:
        """Say *word* to the guest; what it says until it is ready for another. Raises `Failed`."""
        self.tell(word)
        return self.until_ready(limit_s, f"the word {word!r}")

    def tell(self, word: str) -> None:
        try:
            self._words.write(word.encode() + b"\n")
            self._words.flush()
        except OSError as error:
            raise Failed(f"QEMU had ended when the guest was to be told {word!r}") from error

    def until_ready(self, limit_s: float, after: str) -> Said:
        """The values that the guest names until it is ready for a word. Raises `Failed`."""
        deadline = time.monotonic() + limit_s
        values = Said()
        while True:
            text = self._heard.pop(0) if self._heard else self._next(deadline)
            if text is None:
                ended = "QEMU ended" if self._ended else f"the guest was not ready {limit_s:.0f} s"
                last = f"; it was at {next(reversed(values))!r}" if values else ""
                raise Failed(f"{ended} after {after}{last}")
            if (death := death_of(text)) is not None:
                raise Failed(f"the kernel died after {after}: {death}")
            if (mark := mark_of(text)) is None:
                continue
            if mark.name == "failed":
                self._listen_on()
                raise Failed(mark.value)
            if mark.name == "ready":
                return values
            values[mark.name] = mark.value

    def _listen_on(self) -> None:
        """To what a guest has to say about a failure: a journal, and then that it is ready."""
        deadline = time.monotonic() + LISTEN_ON_S
        while (text := self._next(deadline)) is not None and mark_of(text) != Mark("ready", ""):
            pass

    def drain(self, limit_s: float) -> None:
        """Read to the end of its output."""
        deadline = time.monotonic() + limit_s
        while self._next(deadline) is not None:
            pass

    def _next(self, deadline: float) -> str | None:
        """The next line, kept in the log too; None at the end of all or at *deadline*."""
        while (newline := self._begun.find(b"\n")) < 0 and len(self._begun) < LINE_BYTES:
            left_s = deadline - time.monotonic()
            if self._ended or left_s <= 0 or not select.select([self._lines], [], [], left_s)[0]:
                return None
            data = self._lines.read(LINE_BYTES)
            self._ended = not data
            self._begun += data if data else b"\n" if self._begun else b""
        end = newline + 1 if newline >= 0 else LINE_BYTES
        line, self._begun = self._begun[:end], self._begun[end:]
        text = cleaned(line)
        self._log.heard(text)
        return text
