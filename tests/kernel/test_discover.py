"""Plug-ins in a folder and in installed packages: real files, and what is wrong with them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from moltbot_edge.kernel.discover import Found, in_entry_points, in_folder, objection
from moltbot_edge.kernel.registry import PluginClash, Registry

BACKWARDS = """
from moltbot_edge.api import policy

@policy("{name}")
def backwards(candidates, query):
    return candidates[::-1]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    return folder


def put(folder: Path, name: str, source: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    path.chmod(0o644)
    return path


def names(found: Found) -> list[str]:
    return [plugin.name for plugin in found.plugins]


def problem(found: Found) -> str:
    (only,) = found.problems
    return str(only)


def test_every_file_is_loaded_in_the_order_of_names(folder: Path) -> None:
    for stem in ("b", "a-dash", "_left_out"):
        put(folder, f"{stem}.py", BACKWARDS.format(name=stem.strip("_").replace("_", "-")))
    put(folder, "notes.txt", "not Python")
    found = in_folder(folder)
    assert found.problems == ()
    assert names(found) == ["a-dash", "b"]
    assert [plugin.origin for plugin in found.plugins] == [str(folder / "a-dash.py"), str(folder / "b.py")]
    assert Registry(found.plugins).build("policy", "b")([1, 2], None) == [2, 1]


def test_nothing_is_left_in_the_folder_or_in_the_path(folder: Path) -> None:
    path_before = list(sys.path)
    put(folder, "own.py", BACKWARDS.format(name="own"))
    in_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["own.py"]
    assert sys.path == path_before
    assert "own" not in sys.modules


def test_files_of_one_name_in_two_folders_are_two_modules(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    put(folder, "own.py", BACKWARDS.format(name="one"))
    put(other, "own.py", BACKWARDS.format(name="two"))
    (one,), (two,) = in_folder(folder).plugins, in_folder(other).plugins
    assert one.target.__module__ != two.target.__module__


def test_what_a_file_imports_from_elsewhere_is_not_its_own(folder: Path) -> None:
    source = "from moltbot_edge.policies.weighted import Weighted\n" + BACKWARDS.format(name="own")
    put(folder, "own.py", source)
    assert names(in_folder(folder)) == ["own"]


def test_one_file_may_hold_several_and_their_annotations_are_found(folder: Path) -> None:
    source = """
from __future__ import annotations
from moltbot_edge.api import Struct, policy

class Span(Struct, frozen=True):
    first: int

@policy("spans")
class Spans(Struct, frozen=True):
    spans: tuple[Span, ...]
    def __call__(self, candidates, query):
        return candidates

@policy("last")
def last(candidates, query):
    return candidates[-1:]
"""
    put(folder, "own.py", source)
    found = in_folder(folder)
    assert names(found) == ["spans", "last"]
    built = Registry(found.plugins).build("policy", "spans", {"spans": [{"first": 3}]})
    assert built.spans[0].first == 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import json\n\ndef f(:\n    pass\n", ":3: SyntaxError: invalid syntax"),
        ("x = 1\n  y = 2\n", ":2: IndentationError: unexpected indent"),
        ("import json\n\n\njson.loads('{')\n", ":4: JSONDecodeError: Expecting property name"),
        ("\ndef f():\n    return 1 / 0\n\n\nf()\n", ":3: ZeroDivisionError: division by zero"),
        ("import no_such_module_here\n", ":1: ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("from moltbot_edge.api import no_such\n", ":1: ImportError: cannot import name 'no_such'"),
        ("\nraise SystemExit(3)\n", ":2: SystemExit: 3"),
        (
            "from moltbot_edge.api import policy\n@policy('No Name')\ndef f(c, q): ...\n",
            ":2: ValueError: a policy's name",
        ),
        (b"x = '\xff'\n", ": SyntaxError: (unicode error)"),
        (b"x = 1\0\n", ": SyntaxError: source code"),
        ("x = 1\n", ': holds no plug-in; mark one, such as with @policy("name")'),
    ],
)
def test_a_broken_file_is_told_with_its_line_and_the_others_are_loaded(
    folder: Path, source: str | bytes, said: str
) -> None:
    broken = put(folder, "broken.py", source)
    put(folder, "sound.py", BACKWARDS.format(name="sound"))
    modules_before = set(sys.modules)
    found = in_folder(folder)
    assert names(found) == ["sound"]
    assert problem(found).startswith(str(broken)), problem(found)
    assert said in problem(found)
    left = {name for name in set(sys.modules) - modules_before if name.startswith("moltbot_plugin_broken")}
    assert not left or "holds no plug-in" in said


def test_two_files_of_one_name_are_an_error_that_names_both(folder: Path) -> None:
    first = put(folder, "a.py", BACKWARDS.format(name="own"))
    second = put(folder, "b.py", BACKWARDS.format(name="own"))
    with pytest.raises(PluginClash) as raised:
        Registry(in_folder(folder).plugins)
    assert str(first) in str(raised.value)
    assert str(second) in str(raised.value)


def test_a_file_that_everyone_may_write_is_refused_unread(folder: Path) -> None:
    path = put(folder, "own.py", "raise RuntimeError('was run')")
    path.chmod(0o666)
    assert problem(in_folder(folder)) == f"{path}: is writable by everyone; chmod o-w"


def test_a_folder_that_everyone_may_write_is_refused(folder: Path) -> None:
    put(folder, "own.py", "raise RuntimeError('was run')")
    folder.chmod(0o1777)
    assert problem(in_folder(folder)) == f"{folder}: is writable by everyone; chmod o-w"


def state(uid: int, gid: int, mode: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


def test_only_root_and_this_user_are_trusted() -> None:
    us, our_group = os.geteuid(), os.getegid()
    stranger = us + 4242
    assert objection(state(us, our_group, 0o644)) is None
    assert objection(state(0, 0, 0o644)) is None
    assert f"belongs to user {stranger}" in (objection(state(stranger, our_group, 0o600)) or "")
    assert objection(state(us, our_group, 0o664)) is None  # what a umask of 002 makes
    assert objection(state(us, our_group + 4242, 0o644)) is None
    assert "writable by group" in (objection(state(us, our_group + 4242, 0o664)) or "")
    assert "writable by everyone" in (objection(state(0, 0, 0o646)) or "")


def test_a_folder_that_is_not_there_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert problem(in_folder(tmp_path / "none")) == (
        f"{tmp_path / 'none'}: cannot read the plug-ins folder: No such file or directory"
    )


def test_what_is_no_file_is_refused_and_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "fifo.py", 0o600)
    (folder / "folder.py").mkdir(mode=0o755)
    (folder / "gone.py").symlink_to(folder / "nowhere.py")
    assert [str(each) for each in in_folder(folder).problems] == [
        f"{folder / 'fifo.py'}: is no regular file",
        f"{folder / 'folder.py'}: cannot be read: Is a directory",
        f"{folder / 'gone.py'}: cannot be read: No such file or directory",
    ]


def install(site: Path, entry_points: dict[str, str], **modules: str) -> None:
    for name, source in modules.items():
        put(site, f"{name}.py", source)
    metadata = site / "own_package-1.0.dist-info"
    metadata.mkdir()
    put(metadata, "METADATA", "Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    put(metadata, "entry_points.txt", f"[moltbot_edge.plugins]\n{lines}")


def test_an_installed_package_gives_the_same_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = BACKWARDS.format(name="packaged") + '\n@policy("second")\ndef second(candidates, query): ...\n'
    install(
        tmp_path,
        {"a": "own_package_sound", "b": "own_package_object:backwards", "c": "own_package_broken", "d": "own_no_such"},
        own_package_sound=source,
        own_package_object=BACKWARDS.format(name="object"),
        own_package_broken="raise RuntimeError('on import')\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = in_entry_points()
    assert names(found) == ["packaged", "second", "object"]
    assert found.plugins[0].origin == "own_package_sound of own-package"
    assert [str(each) for each in found.problems] == [
        "own_package_broken of own-package: RuntimeError: on import",
        "own_no_such of own-package: ModuleNotFoundError: No module named 'own_no_such'",
    ]
    assert Registry(found.plugins).build("policy", "object")([1, 2], None) == [2, 1]


def test_a_file_and_a_package_of_one_name_are_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, {"a": "own_package_clash"}, own_package_clash=BACKWARDS.format(name="own"))
    monkeypatch.syspath_prepend(tmp_path)
    put(folder, "own.py", BACKWARDS.format(name="own"))
    with pytest.raises(PluginClash, match="own_package_clash of own-package"):
        Registry((in_folder(folder) + in_entry_points()).plugins)
