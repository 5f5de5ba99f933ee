"""Folders of a run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from demo.errors import DemoError
from demo.folders import create_folders

if TYPE_CHECKING:
    from pathlib import Path


def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = create_folders(tmp_path / "new" / "base"), create_folders(tmp_path / "new" / "base")
    assert first.root != second.root
    for folders in (first, second):
        assert sorted(path.name for path in folders.root.iterdir()) == ["airflow", "export", "logs"]


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match=r"cannot write below .*file.*--output"):
        create_folders(tmp_path / "file")


def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 5 * 1024**2))
    with pytest.raises(DemoError, match=r"needs about 200 MB .* 5 MB are free"):
        create_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []
