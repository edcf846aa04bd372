"""Plug-ins in a folder and in installed packages. Not a sandbox: a plug-in's code runs with all the gateway may do.

So a file is believed only as ``ssh`` and ``sudo`` believe theirs: owned by this user or root, and not writable by
others (sshd_config(5) ``StrictModes``, sudoers(5)). Nothing raises for a bad plug-in; it becomes a `Problem`, and
the others load.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from pathlib import Path
from types import ModuleType

import msgspec

from moltbot_edge import binary
from moltbot_edge.kernel.marks import mark_of
from moltbot_edge.kernel.registry import Plugin, marked_in

ENTRY_POINTS = "moltbot_edge.plugins"


class Problem(msgspec.Struct, frozen=True):
    """*line* is None where the file as a whole is at fault."""

    origin: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.origin}{f':{self.line}' if self.line else ''}: {self.message}"


class Found(msgspec.Struct, frozen=True):
    plugins: tuple[Plugin, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(self.plugins + other.plugins, self.problems + other.problems)


def in_folder(folder: Path) -> Found:
    """Every ``*.py`` of *folder* whose name does not begin with ``_``, in the order of names.

    Each is a module of its own, outside `sys.path`, and leaves no ``__pycache__`` behind.
    """
    try:
        state = folder.stat()
        # A Kubernetes volume shows 0777 and cannot be written all the same.
        writable = not os.statvfs(folder).f_flag & os.ST_RDONLY
        refusal = objection(state) if writable else None
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("_"))
    except OSError as error:
        return Found(problems=(Problem(str(folder), None, f"cannot read the plug-ins folder: {error.strerror}"),))
    if refusal is not None:
        return Found(problems=(Problem(str(folder), None, refusal),))
    return sum((_in_file(path) for path in paths), Found())


def in_entry_points() -> Found:
    """What installed packages declare in the group ``moltbot_edge.plugins``: a module, or a marked object of one."""
    try:
        from importlib.metadata import entry_points  # 1.2 MB and 16 ms, for those who have some
    except ModuleNotFoundError:
        return Found()  # a built executable: there is nothing that is installed beside it

    found = Found()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value)):
        origin = f"{point.value} of {point.dist.name if point.dist else 'an installed package'}"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # somebody else's code, of any quality
            found += Found(problems=(Problem(origin, None, f"{type(error).__name__}: {error}"),))
            continue
        found += _checked(loaded, origin)
    return found


def objection(state: os.stat_result) -> str | None:
    """Why a file or folder with this *state* is not to be trusted, and what to do about it."""
    us = os.geteuid()
    if state.st_uid not in (0, us):
        return f"belongs to user {state.st_uid}; plug-ins have to belong to root or to user {us}, who runs this: chown"
    if state.st_mode & stat.S_IWOTH:
        return "is writable by everyone; chmod o-w"
    # A user's own group may write, as Debian's patch to ssh has it: its umask of 002 makes every file so.
    if state.st_mode & stat.S_IWGRP and state.st_gid not in (0, os.getegid()):
        return f"is writable by group {state.st_gid}; chmod g-w"
    return None


def _in_file(path: Path) -> Found:
    origin = str(path)
    try:
        # Checked and read through one descriptor: what was checked is what runs. A FIFO does not hold us up.
        with open(path, "rb", opener=_opened_at_once) as file:
            state = os.fstat(file.fileno())
            refusal = objection(state) if stat.S_ISREG(state.st_mode) else "is no regular file"
            source = b"" if refusal else file.read()
    except OSError as error:
        refusal = f"cannot be read: {error.strerror}"
    if refusal:
        return Found(problems=(Problem(origin, None, refusal),))

    # The path's sum keeps two folders' files of one name apart.
    name = f"moltbot_plugin_{path.stem}_{zlib.crc32(os.fsencode(path.absolute())):08x}"
    module = ModuleType(name)
    module.__file__ = origin
    sys.modules[name] = module  # where msgspec and typing look up a class's annotations
    try:
        exec(compile(source, origin, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:  # somebody else's code, of any quality
        del sys.modules[name]
        return Found(problems=(Problem(origin, _line(error, origin), f"{type(error).__name__}: {_words(error)}"),))
    return _checked(module, origin)


def _opened_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _checked(loaded: object, origin: str) -> Found:
    if isinstance(loaded, ModuleType):
        plugins = marked_in(loaded, origin)
    elif (mark := mark_of(loaded)) is not None:
        plugins = [Plugin(mark.kind, mark.name, loaded, origin)]
    else:
        plugins = []
    if not plugins:
        return Found(problems=(Problem(origin, None, 'holds no plug-in; mark one, such as with @policy("name")'),))
    return Found(tuple(plugins))


def _line(error: BaseException, path: str) -> int | None:
    """The last line of *path* that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _words(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and binary.plugin_modules() is not None:
        return f"{error}; what this binary has for plug-ins is listed by `moltbot-edge plugins --modules`"
    return error.msg if isinstance(error, SyntaxError) else str(error)
