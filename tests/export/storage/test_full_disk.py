"""A disk without room: of what did not fit, nothing is left behind."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_banksync.export.storage.folder import Folder
from tests.support.export_task import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """What is written beyond that fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# What is short is written when the file is closed, what is long at once.
@pytest.mark.parametrize("length", [500, 1_000_000])
@pytest.mark.parametrize("write", [Folder.write, Folder.create])
def test_what_did_not_fit_leaves_nothing(
    tmp_path: Path, write: Callable[[Folder, str, bytes], object], length: int
) -> None:
    folder = Folder(LocalFileSystem(), str(tmp_path), tmp_path.as_uri())
    with no_file_longer_than(100), pytest.raises(OSError, match="File too large"):
        write(folder, "below/note.json", b"x" * length)
    assert tree(tmp_path) == {}
    write(folder, "below/note.json", b"x" * length)
    assert tree(tmp_path) == {"below/note.json": b"x" * length}
