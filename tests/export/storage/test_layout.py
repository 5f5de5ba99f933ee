"""Names of folders and files: made from ids, whatever the ids are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.export.storage import layout
from tests.support.odd_rows import ODD_IDS


@pytest.mark.parametrize("nasty", ODD_IDS)
def test_an_id_cannot_leave_its_folder(nasty: str) -> None:
    name = layout.path_segment(nasty)
    assert len(name) <= 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    assert name.strip(".")
    assert ".." not in name
    longest = layout.part_name(f"{name}.{name}", 99999, token := layout.new_token(), "jsonl.zst")
    assert layout.is_part_path(f"workspace_id={name}/window=2026-01-01_2026-01-31/{longest}")
    assert len(longest) < 255 - len("_tmp-.12345678")
    assert layout.token_of(longest) == layout.token_of(f"_tmp-{longest}.12345678") == token


@given(st.text(), st.text())
def test_two_ids_never_share_a_folder(one: str, other: str) -> None:
    assert (layout.path_segment(one) == layout.path_segment(other)) is (one == other)


@given(st.lists(st.text(alphabet="aAbB.é", min_size=1, max_size=4), unique=True, max_size=6))
def test_ids_that_differ_in_case_share_no_folder_where_case_means_nothing(ids: list[str]) -> None:
    names = layout.PathSegments(ids)
    assert len({names(each).lower() for each in ids}) == len(ids)


def test_an_id_of_plain_characters_stays_as_it_is() -> None:
    assert layout.path_segment("aB3-x_9") == "aB3-x_9"
    assert layout.PathSegments(["aB3-x_9", "other"])("aB3-x_9") == "aB3-x_9"


def test_a_folder_that_readers_take_for_null_is_not_used() -> None:
    assert layout.path_segment("__HIVE_DEFAULT_PARTITION__").startswith("__HIVE_DEFAULT_PARTITION__.")


@pytest.mark.parametrize(
    "path",
    [
        "../part-outside",
        "workspace_id=x/../../part-outside",
        "workspace_id=../part-00000.jsonl",
        "/etc/part-x",
        "workspace_id=a/workspace_id=b/part-0",
        "window=a/../part-0",
        "workspace_id=a\\..\\part-0",
        "notes.txt",
        "workspace_id=a/_manifest.json",
        "part-0\n",
    ],
)
def test_what_is_not_ours(path: str) -> None:
    assert not layout.is_part_path(path)
