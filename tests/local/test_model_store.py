"""Which files of a model store are models, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moltbot_edge.local.store import found_models, parts, projector, removable, remove


def stored(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_model_is_named_after_its_file(tmp_path: Path) -> None:
    stored(tmp_path, "SmolLM2-135M-Instruct.Q4_1.gguf", "notes.txt", "half.gguf.part", ".hidden.gguf")
    assert found_models([tmp_path]) == {"smollm2-135m-instruct.q4_1": tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"}


def test_a_name_holds_only_what_a_reply_can_carry(tmp_path: Path) -> None:
    stored(tmp_path, "two\nlines.gguf", "my model, v1 (ü).gguf")
    (tmp_path / os.fsdecode(b"caf\xe9.gguf")).touch()  # from a disk that was written elsewhere
    assert list(found_models([tmp_path])) == ["caf-", "my model, v1 (ü)", "two-lines"]


def test_models_in_folders_of_their_own_are_found(tmp_path: Path) -> None:
    stored(tmp_path, "publisher/model/m.gguf", "a/b/c/too-deep.gguf")
    assert list(found_models([tmp_path])) == ["m"]


def test_a_split_model_counts_once(tmp_path: Path) -> None:
    stored(tmp_path, *(f"Big-Q4-{number:05}-of-00003.gguf" for number in (1, 2, 3)))
    assert found_models([tmp_path]) == {"big-q4": tmp_path / "Big-Q4-00001-of-00003.gguf"}
    assert [part.name[7:12] for part in parts(tmp_path / "Big-Q4-00001-of-00003.gguf")] == ["00001", "00002", "00003"]


def test_a_projector_is_no_model_but_belongs_to_one(tmp_path: Path) -> None:
    stored(tmp_path, "SmolVLM-256M-Q8_0.gguf", "mmproj-SmolVLM-256M-f16.gguf", "Other-Q4_K_M.gguf")
    assert list(found_models([tmp_path])) == ["other-q4_k_m", "smolvlm-256m-q8_0"]
    assert projector(tmp_path / "SmolVLM-256M-Q8_0.gguf") == tmp_path / "mmproj-SmolVLM-256M-f16.gguf"
    assert projector(tmp_path / "Other-Q4_K_M.gguf") is None


def test_a_projector_may_say_what_it_is_at_its_end(tmp_path: Path) -> None:
    stored(tmp_path, "gemma-Q4_K_M-00001-of-00002.gguf", "gemma-mmproj-BF16.gguf")
    assert projector(tmp_path / "gemma-Q4_K_M-00001-of-00002.gguf") == tmp_path / "gemma-mmproj-BF16.gguf"


def test_the_first_folder_wins(tmp_path: Path) -> None:
    stored(tmp_path, "one/m.gguf", "two/M.gguf", "two/n.gguf")
    assert found_models([tmp_path / "one", tmp_path / "two"]) == {
        "m": tmp_path / "one/m.gguf",
        "n": tmp_path / "two/n.gguf",
    }


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    stored(tmp_path, "file")
    assert found_models([tmp_path / "none", tmp_path / "file"]) == {}


def test_a_model_is_removed_with_all_its_parts_and_what_lets_it_see(tmp_path: Path) -> None:
    stored(tmp_path, "m-q4_0-00001-of-00002.gguf", "m-q4_0-00002-of-00002.gguf", "mmproj-m-f16.gguf", "other.gguf")
    assert len(remove(removable(tmp_path / "m-q4_0-00001-of-00002.gguf", [tmp_path]))) == 3
    assert os.listdir(tmp_path) == ["other.gguf"]


def test_what_another_model_sees_with_stays(tmp_path: Path) -> None:
    stored(tmp_path, "m-q4_0.gguf", "m-q8_0.gguf", "mmproj-m-f16.gguf")
    assert removable(tmp_path / "m-q4_0.gguf", [tmp_path]) == [tmp_path / "m-q4_0.gguf"]


def test_nothing_outside_of_a_store_is_removed_and_of_a_link_only_the_link(tmp_path: Path) -> None:
    stored(tmp_path, "elsewhere/m.gguf", "store/other.gguf")
    store = tmp_path / "store"
    (store / "m.gguf").symlink_to(tmp_path / "elsewhere/m.gguf")
    (store / "out").symlink_to(tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere/m.gguf", store / "out/m.gguf", store / "../elsewhere/m.gguf", Path()):
        with pytest.raises(ValueError, match="is not in the model store"):
            removable(file, [store])
    assert remove(removable(store / "m.gguf", [store])) == [store / "m.gguf"]
    assert (tmp_path / "elsewhere/m.gguf").exists()
