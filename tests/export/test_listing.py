"""Writing a listing: layout, manifest, what a second run does, and what an id cannot do."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.export import layout, listing
from airflow_provider_banksync.export.listing import Owner
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.hooks.test_hook import truth
from tests.tasks.conftest import run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

A, B = Owner("ws-A", "Crème & Söhne 🥐"), Owner("ws-B")
Rows = list[tuple[Owner, dict[str, Any]]]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def write(folder: Path, rows: Rows, at: str = "2026-01-01T00:00:00+00:00") -> dict[str, Any]:
    target = ObjectStoragePath(f"file://{folder}")
    listing.prepare(target)
    return listing.write(target, rows, description={"resource": "accounts"}, generated_at=at)


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": str(number), "balance": Decimal("12.50"), **fields}


def test_files_and_manifest(tmp_path: Path) -> None:
    manifest = write(tmp_path, [(A, row(1, new={"x": None})), (B, row(2)), (A, row(3, name="שלום"))])
    files = tree(tmp_path)
    assert set(files) == {
        "_manifest.json",
        "workspace_id=ws-A/part-00000.jsonl",
        "workspace_id=ws-B/part-00000.jsonl",
    }
    body = files["workspace_id=ws-A/part-00000.jsonl"]
    assert body.splitlines() == [
        b'{"id":"1","balance":12.50,"new":{"x":null}}',
        '{"id":"3","balance":12.50,"name":"שלום"}'.encode(),
    ]
    assert json.loads(files["_manifest.json"]) == manifest
    assert manifest["rows"] == 3
    assert manifest["resource"] == "accounts"
    assert manifest["files"][0] == {
        "path": "workspace_id=ws-A/part-00000.jsonl",
        "rows": 2,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "workspace_id": "ws-A",
        "portal": A.portal,
    }


def test_a_second_run_leaves_the_same_files(tmp_path: Path) -> None:
    rows: Rows = [(A, row(1)), (B, row(2))]
    write(tmp_path, rows)
    first = tree(tmp_path)
    write(tmp_path, rows)
    assert tree(tmp_path) == first


def test_two_names_of_one_workspace_lose_no_row(tmp_path: Path) -> None:
    manifest = write(tmp_path, [(Owner("w", None), row(1)), (Owner("w", "New"), row(2))])
    assert manifest["rows"] == 2
    assert (manifest["files"][0]["rows"], manifest["files"][0]["portal"]) == (2, "New")
    assert tree(tmp_path)["workspace_id=w/part-00000.jsonl"].count(b"\n") == 2


def test_what_is_gone_is_removed_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    write(tmp_path, [(A, row(1)), (B, row(2))])
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "workspace_id=ws-B" / "notes.txt").write_text("mine")
    write(tmp_path, [(A, row(9))])
    assert set(tree(tmp_path)) == {
        "_manifest.json",
        "notes.txt",
        "workspace_id=ws-A/part-00000.jsonl",
        "workspace_id=ws-B/notes.txt",
    }


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"half a l")], ids=["gone", "cut"]
)
def test_a_damaged_file_is_written_again(tmp_path: Path, damage: Any) -> None:
    write(tmp_path, [(A, row(1))])
    good = tree(tmp_path)
    damage(tmp_path / "workspace_id=ws-A" / "part-00000.jsonl")
    write(tmp_path, [(A, row(1))])
    assert tree(tmp_path) == good


@pytest.mark.parametrize("before", [b"", b"{", b"[]", b'{"files": 1}', b'{"files": [1]}'])
def test_a_damaged_manifest_is_no_obstacle(tmp_path: Path, before: bytes) -> None:
    tmp_path.joinpath("_manifest.json").write_bytes(before)
    manifest = write(tmp_path, [(A, row(1))])
    assert json.loads((tmp_path / "_manifest.json").read_bytes()) == manifest


def test_a_run_that_breaks_off_leaves_no_manifest_and_the_next_one_mends_it(
    tmp_path: Path, mocker: Any
) -> None:
    write(tmp_path, [(A, row(1)), (B, row(2))])
    target = ObjectStoragePath(tmp_path.as_uri())
    kind = type(target / "x")
    real = kind.write_bytes

    def full(self: Any, data: bytes) -> int:
        if "workspace_id=ws-C" in str(self):
            raise OSError(28, "No space left on device")
        return int(real(self, data))

    broken = mocker.patch.object(kind, "write_bytes", full)
    with pytest.raises(listing.ExportError, match="No space left"):
        listing.write(target, [(A, row(7)), (Owner("ws-C"), row(3))], description={}, generated_at="now")
    assert "_manifest.json" not in tree(tmp_path)
    mocker.stop(broken)
    write(tmp_path, [(A, row(7))])
    assert set(tree(tmp_path)) == {"_manifest.json", "workspace_id=ws-A/part-00000.jsonl"}


def test_a_manifest_cannot_make_us_remove_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    outside = tmp_path / "part-outside"
    outside.write_text("mine")
    paths = [
        "../part-outside",
        "workspace_id=x/../../part-outside",
        "/etc/part-x",
        "workspace_id=a/workspace_id=b/part-0",
    ]
    (tmp_path / "below" / "_manifest.json").write_text(
        json.dumps({"files": [{"path": path} for path in paths]})
    )
    write(tmp_path / "below", [(A, row(1))])
    assert outside.read_text() == "mine"


def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "la[k]e"
    write(folder, [(A, row(1)), (B, row(2))])
    write(folder, [(A, row(1))])
    assert set(tree(folder)) == {"_manifest.json", "workspace_id=ws-A/part-00000.jsonl"}


def test_many_writers_probe_a_folder_at_once(tmp_path: Path) -> None:
    import threading

    failures: list[Exception] = []

    def probe() -> None:
        for _ in range(40):
            try:
                listing.prepare(ObjectStoragePath(tmp_path.as_uri()))
            except listing.ExportError as error:
                failures.append(error)

    threads = [threading.Thread(target=probe) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert tree(tmp_path) == {}


def test_the_memory_filesystem_as_a_stand_in_for_an_object_store() -> None:
    target = ObjectStoragePath("memory://bucket/lake")
    try:
        target.exists()
    except ValueError as error:  # of Airflow, up to 3.1
        pytest.skip(str(error))
    listing.prepare(target)
    manifest = listing.write(target, [(A, row(1)), (B, row(2))], description={}, generated_at="now")
    listing.write(target, [(A, row(1))], description={}, generated_at="now")
    assert (target / manifest["files"][0]["path"]).read_bytes() == b'{"id":"1","balance":12.50}\n'
    assert not (target / manifest["files"][1]["path"]).exists()


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert write(tmp_path, [])["files"] == []
    assert set(tree(tmp_path)) == {"_manifest.json"}


NASTY = [
    "..",
    ".",
    "",
    "../../etc",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "ünï",
    "x" * 500,
    "%2e%2e",
    "a\x00b",
    "\ud800",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_an_id_cannot_leave_its_folder(nasty: str) -> None:
    name = layout.segment(nasty)
    assert len(name) <= 120
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    assert name.strip(".")
    assert ".." not in name


@given(st.text(), st.text())
def test_two_ids_never_share_a_folder(one: str, other: str) -> None:
    assert (layout.segment(one) == layout.segment(other)) is (one == other)


def test_an_id_of_plain_characters_stays_as_it_is() -> None:
    assert layout.segment("aB3-x_9") == "aB3-x_9"


# --- the operator ---


def export(**arguments: Any) -> Any:
    return run_task(BankSyncToObjectStorageOperator(task_id="export", **arguments)).result


@pytest.mark.banksync_sandbox(portals=3, time_scale=0)
@pytest.mark.parametrize(
    "resource", ["workspaces", "portals", "banks", "accounts", "feeds", "integrations", "enrichments", "jobs"]
)
def test_every_listing_of_one_workspace(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, resource: str
) -> None:
    summary = export(resource=resource, destination=tmp_path.as_uri())
    body = tmp_path.joinpath(
        f"resource={resource}", f"workspace_id={banksync_sandbox.workspace_id}", "part-00000.jsonl"
    ).read_bytes()
    rows = [json.loads(line, parse_float=Decimal) for line in body.splitlines()]
    assert summary["rows"] == len(rows) > 0
    assert (summary["files"], summary["workspaces"]) == (1, 1)
    own = f"workspace_id={banksync_sandbox.workspace_id}"
    assert summary["manifest"].endswith(f"resource={resource}/{own}/_manifest.json")
    if resource in ("banks", "feeds", "integrations", "enrichments", "workspaces"):
        assert rows == truth(banksync_sandbox, f"/v1/{resource}")


@pytest.mark.banksync_sandbox(portals=3, time_scale=0)
def test_one_task_a_portal_by_a_plain_path(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    ids = [portal for portal, _ in banksync_sandbox.portals]
    for portal in ids:
        summary = export(resource="banks", destination=str(tmp_path), workspace_id=portal)
        assert summary["manifest"].endswith(f"/workspace_id={portal}/_manifest.json")
    files = tree(tmp_path / "resource=banks")
    assert set(files) == {
        f"workspace_id={portal}/{name}" for portal in ids for name in ("_manifest.json", "part-00000.jsonl")
    }
    assert "/v1/whoami" not in {record.path for record in banksync_sandbox.requests}, "the asked one is known"
    for portal in ids:
        body = files[f"workspace_id={portal}/part-00000.jsonl"]
        assert [json.loads(line) for line in body.splitlines()] == truth(
            banksync_sandbox, "/v1/banks", portal
        )


@pytest.mark.banksync_sandbox(portals=2, time_scale=0)
def test_the_family_takes_over_and_one_workspace_does_not(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    export(resource="banks", destination=tmp_path.as_uri(), workspace_id=portal)
    export(resource="banks", destination=tmp_path.as_uri(), scope="family")
    folder = tmp_path / "resource=banks"
    assert not (folder / f"workspace_id={portal}" / "_manifest.json").exists()
    before = tree(folder)
    with pytest.raises(AirflowFailException, match="holds an export of the family"):
        export(resource="banks", destination=tmp_path.as_uri(), workspace_id=portal)
    assert tree(folder) == before


@pytest.mark.banksync_sandbox(portals=1, time_scale=0)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"destination": ""}, "destination is ''"),
        ({"destination": "None"}, "destination is 'None'"),
        ({"destination": "file://"}, "destination is 'file://'"),
        ({"destination": "nosuchscheme://bucket/x"}, "cannot be (used|written)"),
        ({"destination": "file:///proc/nowhere/x"}, "cannot be written"),
        ({"resource": "bank"}, "resource must be one of"),
        ({"scope": "everyone"}, "scope must be"),
    ],
)
def test_bad_input_fails_before_anything_is_asked(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"resource": "banks", "destination": tmp_path.as_uri(), **arguments}
    with pytest.raises(AirflowFailException, match=words):
        export(**given)
    assert banksync_sandbox.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_format_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="file_format must be"):
        BankSyncToObjectStorageOperator(
            task_id="x", resource="banks", destination="/tmp/x", file_format="xml"
        )
