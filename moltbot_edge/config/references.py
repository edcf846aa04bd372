"""What a text in the configuration may refer to: ``${NAME}``, ``${NAME:-default}`` and, for secrets, ``file:PATH``.

The syntax is the shell's, and Compose's for what is not a reference: ``$${`` stands for ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MAX_SECRET_BYTES: Final = 64 * 1024  # the longest thing that a header may hold anywhere is shorter

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\$\{", re.ASCII)


class Unresolved(ValueError):
    """The message says what would help; it holds no value."""


def refers(text: str) -> bool:
    return "${" in text


def expand(text: str, environment: Mapping[str, str]) -> str:
    """*text* with its references replaced, once: what a variable holds is not looked into. Raises `Unresolved`."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        return environment.get(found["name"]) or found["default"] or ""

    wrong = list(_unresolved(text, environment))
    if wrong:
        raise Unresolved("; ".join(wrong))
    return _REFERENCE.sub(value, text)


def _unresolved(text: str, environment: Mapping[str, str]) -> Iterator[str]:
    for found in _REFERENCE.finditer(text):
        name = found["name"]
        if found[0] == "${":
            yield "`${` begins a reference such as ${NAME} or ${NAME:-default}; write $${ for the characters themselves"
        elif name is not None and name not in environment and found["default"] is None:
            yield f"the environment variable {name} is not set; set it, or give a default: ${{{name}:-...}}"


def located(text: str, folder: Path, environment: Mapping[str, str]) -> Path:
    """A relative path begins at *folder*, `~/` at home."""
    home = environment.get("HOME")
    return Path(home, text[2:]) if home and text.startswith("~/") else folder / text


def secret(path: Path) -> str:
    """A file's text without the line end that editors add. Raises `Unresolved`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        found = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Unresolved(f"the file {path} is not UTF-8 text") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise Unresolved(f"the file {path} cannot be read: {getattr(error, 'strerror', error)}") from error
    if len(content) > MAX_SECRET_BYTES:
        raise Unresolved(f"the file {path} is longer than {MAX_SECRET_BYTES} bytes: is it the secret?")
    if not found:
        raise Unresolved(f"the file {path} is empty")
    return found
