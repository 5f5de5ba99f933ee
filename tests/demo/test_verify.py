"""An export is held against what the sandbox serves: whatever is wrong with a file is found."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from demo.family import RESOURCES, Family
from demo.verify import MANIFEST, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def seal(base: Path) -> None:
    """Make the manifest agree with the files again, so that only their content is wrong."""
    manifest = json.loads((base / MANIFEST).read_text())
    manifest["files"] = [
        {
            "path": path.relative_to(base).as_posix(),
            "rows": path.read_bytes().count(b"\n"),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(base.glob("workspace_id=*/part-*"))
    ]
    (base / MANIFEST).write_text(json.dumps(manifest))


def test_what_the_package_writes_is_what_the_sandbox_serves(export: Path, family: Family) -> None:
    checked = verify(export, family)
    assert checked.problems == []
    assert len(checked.files) == len(RESOURCES) * len(family.names)
    for resource in RESOURCES:
        assert checked.rows(resource) == family.count(resource) > 0
        for workspace_id, rows in family.rows[resource].items():
            assert checked.rows(resource, workspace_id) == len(rows)
    assert checked.bytes() == sum(path.stat().st_size for path in export.rglob("part-*"))


def test_the_time_of_a_balance_may_be_another(export: Path, family: Family) -> None:
    (base,) = export.glob("**/resource=accounts")
    for path in base.glob("workspace_id=*/part-*"):
        text = path.read_text("utf-8")
        assert '"balanceAsOf":"20' in text
        path.write_text(text.replace('"balanceAsOf":"20', '"balanceAsOf":"19'), "utf-8")
    seal(base)
    assert verify(export, family).problems == []


def lose_a_row(files: list[Path]) -> None:
    files[0].write_bytes(b"".join(files[0].read_bytes().splitlines(keepends=True)[1:]))


def write_a_row_twice(files: list[Path]) -> None:
    first = files[0].read_bytes().splitlines(keepends=True)[0]
    files[0].write_bytes(files[0].read_bytes() + first)


def mix_up_two_clients(files: list[Path]) -> None:
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)


def lose_a_digit(files: list[Path]) -> None:
    text = files[0].read_text("utf-8")
    row = json.loads(text.splitlines()[0], parse_float=str)
    exact = str(row["balance"])
    files[0].write_text(text.replace(f'"balance":{exact}', f'"balance":{exact}0', 1), "utf-8")


def lose_a_field(files: list[Path]) -> None:
    files[0].write_text(files[0].read_text("utf-8").replace('"currency":', '"money":'), "utf-8")


def lose_a_client(files: list[Path]) -> None:
    files[0].unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lose_a_row, "1 rows are missing"),
        (write_a_row_twice, "1 rows are there twice"),
        (mix_up_two_clients, "rows do not belong there"),
        (lose_a_digit, "differs from what was served in balance"),
        (lose_a_field, "differs from what was served in currency"),
        (lose_a_client, "rows are missing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_rows_are_found(
    spoil: Callable[[list[Path]], None], problem: str, export: Path, family: Family
) -> None:
    base = export / "resource=accounts"
    spoil(sorted(base.glob("workspace_id=*/part-*"), key=lambda path: -path.stat().st_size))
    seal(base)
    problems = verify(export, family).problems
    assert problems
    assert all(problem.startswith("accounts of ") for problem in problems)
    assert any(problem in problem for problem in problems), problems


def test_a_file_that_changed_after_the_manifest_is_found(export: Path, family: Family) -> None:
    part = next(export.glob("resource=banks/workspace_id=*/part-*"))
    part.write_text(part.read_text("utf-8").replace('"name":"', '"name":"X', 1), "utf-8")
    problems = verify(export, family).problems
    assert [
        fact for fact in ("rows", "bytes", "sha256") for each in problems if f"{MANIFEST} has {fact}=" in each
    ] == [
        "bytes",
        "sha256",
    ]


def test_a_torn_file_is_found(export: Path, family: Family) -> None:
    part = next(export.glob("resource=banks/workspace_id=*/part-*"))
    part.write_bytes(part.read_bytes()[:-20])
    assert any("has a line that is not JSON" in problem for problem in verify(export, family).problems)


def test_a_name_with_a_line_separator_is_one_row(export: Path, family: Family) -> None:
    rows = next(iter(family.rows["banks"].values()))
    workspace_id = rows[0]["workspaceId"]
    old, new = rows[0]["name"], "Left\u2028Right\x85Bank"
    base = export / "resource=banks"
    [part] = (base / f"workspace_id={workspace_id}").glob("part-*")
    part.write_text(part.read_text("utf-8").replace(old, new), "utf-8")
    rows[0]["name"] = new
    seal(base)
    assert verify(export, family).problems == []


def test_a_file_that_the_manifest_does_not_know_is_found(export: Path, family: Family) -> None:
    (next(export.glob("resource=banks/workspace_id=*")) / "part-00001.jsonl").touch()
    [problem] = verify(export, family).problems
    assert problem.startswith(f"banks: {MANIFEST} and the folder list different files")


@pytest.mark.parametrize("content", [None, "half of it {"], ids=["missing", "broken"])
def test_without_a_manifest_nothing_counts(content: str | None, export: Path, family: Family) -> None:
    path = export / "resource=feeds" / MANIFEST
    path.unlink() if content is None else path.write_text(content)
    [problem] = verify(export, family).problems
    assert "is not complete" in problem


def test_an_empty_folder_is_no_export(tmp_path: Path, family: Family) -> None:
    checked = verify(tmp_path, family)
    assert checked.files == []
    assert [problem.partition(":")[0] for problem in checked.problems] == list(RESOURCES)
