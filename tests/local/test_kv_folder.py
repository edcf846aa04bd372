"""Nothing is loaded but what was saved, whole and by this gateway."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
import pytest

from moltbot_edge.core.prefixes import trail
from moltbot_edge.local import kv_folder
from moltbot_edge.local.kv import Entry, file_name
from moltbot_edge.local.kv_folder import ENTRIES, KvFolder, folder_for

pytestmark = pytest.mark.anyio
NOW = 1_795_000_000.0
LIMIT_BYTES = 1_000_000


def folder(path: Path, limit_bytes: int = LIMIT_BYTES) -> KvFolder:
    return KvFolder(path, limit_bytes, logging.getLogger("test"), lambda: NOW)


def entry(name: str, size_bytes: int) -> Entry:
    marks = trail([name.encode()])
    return Entry(file_name("me", marks), "me", marks, 100, 120, size_bytes, 0, 0, NOW)


async def saved(into: KvFolder, name: str, data: bytes = b"k" * 3000) -> Entry:
    """As an engine would have written it."""
    (into.path / "part-0a").write_bytes(data)
    return await into.keep("part-0a", entry(name, len(data)))


@pytest.fixture
def kept(tmp_path: Path) -> KvFolder:
    opened = folder(tmp_path / "kv")
    assert opened.usable()
    return opened


async def test_what_was_saved_is_there_after_a_restart(kept: KvFolder) -> None:
    one = await saved(kept, "cats")
    assert await kept.is_whole(one)
    kept.close()
    again = folder(kept.path)
    assert again.usable()
    assert again.index.entries == (one,)
    assert await again.is_whole(one)


async def test_others_on_the_machine_see_nothing_of_it(kept: KvFolder) -> None:
    assert kept.path.stat().st_mode & 0o777 == 0o700


async def test_half_a_file_is_not_loaded(kept: KvFolder) -> None:
    one = await saved(kept, "cats")
    state = (kept.path / one.file).stat()
    os.truncate(kept.path / one.file, 1500)
    os.utime(kept.path / one.file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not await kept.is_whole(one)


async def test_a_file_that_somebody_changed_is_not_loaded(kept: KvFolder) -> None:
    """Not even one of the same length and time: a card may lose a bit without anybody's doing."""
    one = await saved(kept, "cats")
    file = kept.path / one.file
    file.write_bytes(b"x" + file.read_bytes()[1:])
    os.utime(file, ns=(one.mtime_ns, one.mtime_ns))
    assert not await kept.is_whole(one)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert not await kept.is_whole(one)
    file.unlink()
    assert not await kept.is_whole(one)


async def test_a_save_that_was_cut_short_gets_no_name(kept: KvFolder) -> None:
    (kept.path / "part-0b").write_bytes(b"half")
    with pytest.raises(OSError, match="4 bytes are there of 3000"):
        await kept.keep("part-0b", entry("cats", 3000))
    assert kept.index.entries == ()


async def test_what_a_killed_gateway_left_behind_is_cleared_away(kept: KvFolder) -> None:
    one = await saved(kept, "cats")
    (kept.path / "part-0c").write_bytes(b"half")
    (kept.path / f"{'f' * 64}.kv").write_bytes(b"of an index that was never written")
    (kept.path / "notes.txt").write_text("somebody's own")
    kept.close()
    again = folder(kept.path)
    assert again.usable()
    assert sorted(os.listdir(kept.path)) == sorted([one.file, "index.json", "lock", "notes.txt"])


async def test_what_an_engine_wrote_for_nobody_is_swept_away_with_the_next_save(kept: KvFolder) -> None:
    (kept.path / "part-0d").write_bytes(b"late")
    part = kept.part("e" * 64)
    (kept.path / part).write_bytes(b"being written")
    assert kept.make_room(100)
    assert sorted(os.listdir(kept.path)) == ["lock", part]


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b'{"entries": 7}', b"\xff", b'{"entries": [{"file": "../x"}]}'])
async def test_an_index_that_makes_no_sense_is_an_empty_one(kept: KvFolder, index: bytes) -> None:
    one = await saved(kept, "cats")
    (kept.path / "index.json").write_bytes(index)
    kept.close()
    again = folder(kept.path)
    assert again.usable()
    assert again.index.entries == ()
    assert not (kept.path / one.file).exists()


async def test_an_index_leads_to_no_file_elsewhere(kept: KvFolder) -> None:
    one = await saved(kept, "cats")
    outside = kept.path.parent / "outside"
    outside.write_bytes((kept.path / one.file).read_bytes())
    os.utime(outside, ns=(one.mtime_ns, one.mtime_ns))
    stranger = msgspec.structs.replace(one, file="../outside")
    index = msgspec.structs.replace(kept.index, entries=(one, stranger))
    (kept.path / "index.json").write_bytes(msgspec.json.encode(index))
    kept.close()
    again = folder(kept.path)
    assert again.usable()
    assert again.index.entries == (one,)


async def test_the_limit_holds_and_the_least_worth_leaves(kept: KvFolder) -> None:
    for number in range(20):
        assert kept.make_room(100_000)
        await saved(kept, str(number), b"k" * 100_000)
        assert kept.index.size_bytes <= LIMIT_BYTES
    held = [file for file in os.listdir(kept.path) if file.endswith(".kv")]
    assert len(held) == len(kept.index.entries) == 10
    assert not kept.make_room(LIMIT_BYTES + 1)


async def test_many_small_files_are_bounded_too(kept: KvFolder) -> None:
    for number in range(ENTRIES + 5):
        await saved(kept, str(number), b"k")
    assert len(kept.index.entries) == ENTRIES
    assert len([file for file in os.listdir(kept.path) if file.endswith(".kv")]) == ENTRIES


async def test_a_full_disk_is_told_once(
    kept: KvFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kv_folder, "FREE_BYTES", 2**60)
    assert not kept.make_room(1000)
    assert not kept.make_room(1000)
    assert len(caplog.records) == 1
    assert "MiB are free" in caplog.text


async def test_two_gateways_do_not_share_a_folder(kept: KvFolder, caplog: pytest.LogCaptureFixture) -> None:
    other = folder(kept.path)
    assert not other.usable()
    assert not other.usable()
    assert [record.getMessage() for record in caplog.records] == [
        f"no caches of engines are kept: {kept.path}: another gateway uses it (`engines.kv_path`)"
    ]
    assert kept.usable()


def test_a_place_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    nowhere = folder(tmp_path / "file" / "kv")
    assert not nowhere.usable()
    assert not nowhere.usable()
    assert len(caplog.records) == 1


async def test_a_folder_that_was_cleared_away_is_made_again(kept: KvFolder) -> None:
    await saved(kept, "cats")
    kept.path.rename(kept.path.with_name("gone"))
    assert kept.usable()
    assert kept.path.is_dir()
    assert kept.index.entries == ()


def test_a_folder_that_others_use_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody's").write_text("")
    assert not folder(tmp_path).usable()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_where_caches_lie_when_nobody_says(tmp_path: Path) -> None:
    service, xdg = Path("/var/cache/moltbot-edge/kv"), {"XDG_CACHE_HOME": "/home/me/.cache", "HOME": "/home/you"}
    assert folder_for("/data/kv", xdg) == Path("/data/kv")
    assert folder_for(None, xdg) == Path("/home/me/.cache/moltbot-edge/kv")
    assert folder_for(None, {}) == service
    assert folder_for(None, {"XDG_CACHE_HOME": "relative"}) == service
    home = {"HOME": "/home/me"}
    assert folder_for(None, home, tmp_path) == tmp_path / "moltbot-edge/kv"
    assert folder_for(None, home, tmp_path / "not mine to write") == Path("/home/me/.cache/moltbot-edge/kv")
