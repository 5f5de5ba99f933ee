"""Listings to files: what a second run does, what a manifest of others can do, and bad input."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.support.export_task import Task, comparable, edit_manifest, manifest_of, plain_names, rows_of, tree
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0)


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "banks"})


@pytest.mark.parametrize(
    "resource", ["workspaces", "portals", "banks", "accounts", "feeds", "integrations", "enrichments", "jobs"]
)
def test_every_listing_of_one_workspace(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, resource: str
) -> None:
    summary = task.run(resource=resource, scope="self")
    own = f"resource={resource}/workspace_id={banksync_sandbox.workspace_id}"
    assert set(plain_names(tree(tmp_path))) == {f"{own}/_manifest.json", f"{own}/part-00000.jsonl"}
    rows = plain_names(rows_of(tmp_path))[f"{own}/part-00000.jsonl"]
    assert summary["rows"] == len(rows) > 0
    assert (summary["files"], summary["workspaces"], summary["unavailable"]) == (1, 1, [])
    assert summary["manifest"] == f"{tmp_path.as_uri()}/{own}/_manifest.json"
    assert manifest_of(summary)["workspace_id"] == banksync_sandbox.workspace_id
    if resource in ("banks", "feeds", "integrations", "enrichments", "workspaces"):
        assert rows == truth(banksync_sandbox, f"/v1/{resource}")


@pytest.mark.parametrize("resource", ["banks", "accounts", "feeds", "integrations", "enrichments", "jobs"])
def test_every_listing_of_the_family(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, resource: str
) -> None:
    summary = task.run(resource=resource)
    names = dict(banksync_sandbox.portals)
    for path, rows in rows_of(tmp_path).items():
        workspace = path.split("/")[1].removeprefix("workspace_id=")
        assert {row["workspaceId"] for row in rows} == {workspace}
        assert {(row["portal"] or {}).get("name") for row in rows} == {names.get(workspace)}
    manifest = manifest_of(summary)
    assert {file["workspace_id"] for file in manifest["files"]} == {banksync_sandbox.workspace_id, *names}
    assert sum(len(rows) for rows in rows_of(tmp_path).values()) == summary["rows"] == manifest["rows"]
    for file in manifest["files"]:
        body = tmp_path.joinpath(f"resource={resource}", file["path"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
        assert file["portal"] == names.get(file["workspace_id"])


def test_one_task_a_portal_by_a_plain_path(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    ids = [portal for portal, _ in banksync_sandbox.portals]
    for index, portal in enumerate(ids):
        Task(str(tmp_path), map_index=index).run(resource="banks", scope="self", workspace_id=portal)
    files = plain_names(tree(tmp_path / "resource=banks"))
    assert set(files) == {
        f"workspace_id={portal}/{name}" for portal in ids for name in ("_manifest.json", "part-00000.jsonl")
    }
    assert "/v1/whoami" not in {record.path for record in banksync_sandbox.requests}, "the asked one is known"
    for portal in ids:
        body = files[f"workspace_id={portal}/part-00000.jsonl"]
        assert [json.loads(line) for line in body.splitlines()] == truth(
            banksync_sandbox, "/v1/banks", portal
        )


def test_the_family_takes_over_and_one_workspace_does_not(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    task.run(scope="self", workspace_id=portal, file_format="csv")
    task.run()
    left = tree(tmp_path / "resource=banks" / f"workspace_id={portal}")
    assert set(plain_names(left)) == {"part-00000.jsonl"}
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match="holds an export of the family"):
        task.run(scope="self", workspace_id=portal)
    assert tree(tmp_path) == before


def test_a_second_run_leaves_the_same_rows_under_other_names(task: Task, tmp_path: Path) -> None:
    task.run()
    first = tree(tmp_path)
    task.run()
    second = tree(tmp_path)
    assert comparable(second) == comparable(first)
    assert set(first) & set(second) == {"resource=banks/_manifest.json"}


def test_what_is_gone_and_what_is_not_ours_stays(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run()
    gone, _ = banksync_sandbox.portals[0]
    folder = tmp_path / "resource=banks" / f"workspace_id={gone}"
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    banksync_sandbox.delete_portal(gone)
    summary = task.run()
    assert set(plain_names(tree(folder))) == {"notes.txt", "part-00000.jsonl"}
    assert (tmp_path / "notes.txt").exists()
    marked = {file["workspace_id"]: file.get("gone") for file in manifest_of(summary)["files"]}
    assert marked.pop(gone) is not None
    assert set(marked.values()) == {None}


def test_another_format_takes_the_place_of_the_first(task: Task, tmp_path: Path) -> None:
    task.run()
    summary = task.run(file_format="csv", compression="gzip")
    files = {f"resource=banks/{file['path']}" for file in manifest_of(summary)["files"]}
    assert all(path.endswith(".csv.gz") for path in files)
    assert set(tree(tmp_path)) == {"resource=banks/_manifest.json", *files}


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"half a l")], ids=["gone", "cut"]
)
def test_a_damaged_file_is_written_again(
    task: Task, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    task.run()
    good = rows_of(tmp_path)
    damage(tmp_path / next(iter(good)))
    task.run()
    assert plain_names(rows_of(tmp_path)) == plain_names(good)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b"{}", "is damaged"),
        (b'{"format_version": 3, "rows": 0, "files": 1}', "is damaged"),
        (b'{"format_version": 3, "rows": 0, "files": [1]}', "is damaged"),
        (b'{"format_version": 3, "rows": 0, "files": [], "accounts": 3}', "is damaged"),
        (b'{"format_version": 3, "rows": 0, "files": [{"path": 7}]}', "is damaged"),
        (b'{"format_version": 3, "rows": 0, "files": [], "ended_tries": 1}', "is damaged"),
        (b'{"format_version": "3", "rows": 0, "files": []}', "is damaged"),
        (b'{"format_version": 3, "rows": 1, "files": [], "unavailable": []}', "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"format_version": 4}', "has format_version 4, and this version of the package reads 3"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(
    task: Task, tmp_path: Path, found: bytes, says: str
) -> None:
    task.run()
    path = tmp_path / "resource=banks/_manifest.json"
    good = path.read_bytes()
    path.write_bytes(found)
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=rf"resource=banks/_manifest.json.*{says}"):
        task.run()
    assert tree(tmp_path) == before
    path.write_bytes(good)
    task.run()


@pytest.mark.parametrize("scope", ["self", "family"])
def test_a_manifest_that_was_removed_is_not_taken_for_a_first_run(
    task: Task, tmp_path: Path, scope: str
) -> None:
    path = Path(task.run(scope=scope)["manifest"].removeprefix("file://"))
    good = path.read_bytes()
    path.unlink()
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path} is gone.*Restore the file"):
        task.run(scope=scope)
    assert tree(tmp_path) == before
    path.write_bytes(good)
    task.run(scope=scope)


@pytest.mark.parametrize(
    "found",
    [b"", b"{", b"[]", b'{"format_version": 2}', b'{"format_version": 1, "writer": "x"}'],
)
def test_a_record_of_a_try_that_cannot_be_understood_is_refused(
    task: Task, tmp_path: Path, found: bytes
) -> None:
    task.run()
    path = tmp_path / "resource=banks/_progress/0123456789ab.json"
    path.parent.mkdir()
    path.write_bytes(found)
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path}, the record of an earlier try, is damaged"):
        task.run()
    assert tree(tmp_path) == before


def test_a_manifest_cannot_make_us_remove_what_is_not_ours(task: Task, tmp_path: Path) -> None:
    manifest = Path(task.run()["manifest"].removeprefix("file://"))
    outside = tmp_path / "part-outside"
    outside.write_text("mine")

    def add(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "files": [*content["files"], {**content["files"][0], "path": "../part-outside"}]}

    edit_manifest(manifest, add)
    with pytest.raises(AirflowFailException, match="is damaged"):
        task.run()
    assert outside.read_text() == "mine"


def test_a_run_that_breaks_off_leaves_the_manifest_and_its_files(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.run()
    good = tree(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(ExportJob, "commit", Mock(side_effect=OSError("the disk is gone")))
        with pytest.raises(OSError, match="the disk is gone"):
            task.run()
    assert good.items() <= tree(tmp_path).items()
    task.run()
    assert comparable(tree(tmp_path)) == comparable(good)


def test_a_listing_that_fails_leaves_all_as_it_was(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run()
    before = tree(tmp_path)
    banksync_sandbox.faults.add(Fault.status(403), path="/v1/banks")
    with pytest.raises(AirflowFailException):
        task.run()
    assert tree(tmp_path) == before


def test_a_portal_that_may_not_be_read_costs_only_itself(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run(resource="accounts")
    before = plain_names(rows_of(tmp_path))
    portal, name = banksync_sandbox.portals[0]
    banksync_sandbox.faults.add(Fault.status(403), path="/v1/banks/*/accounts", workspace_id=portal)
    with pytest.raises(AirflowFailException, match=f"client '{name}': bank .* 403"):
        task.run(resource="accounts")
    assert plain_names(rows_of(tmp_path)) == before, "what was there of the client is kept"
    summary = task.run(resource="accounts", on_unavailable="report")
    assert {(each["workspace_id"], each["reason"]) for each in summary["unavailable"]} == {
        (portal, "forbidden")
    }
    assert plain_names(rows_of(tmp_path)) == before


@pytest.mark.parametrize("resource", ["accounts", "jobs", "enrichments"])
def test_one_client_has_no_trouble_with_another_ones(
    banksync_sandbox: BankSyncSandbox, task: Task, resource: str
) -> None:
    (wanted, _), (other, _), *_ = banksync_sandbox.portals
    for path in ("/v1/banks/*/accounts", "/v1/feeds/*/jobs", "/v1/enrichments"):
        rule = banksync_sandbox.faults.add(Fault.status(403), path=path, workspace_id=other)
        summary = task.run(resource=resource, workspace_ids=[wanted])
        assert (summary["workspaces"], summary["unavailable"], rule.hits) == (1, [], 0)


@pytest.mark.usefixtures("banksync_sandbox")
def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "la[k]e *"
    task = Task(str(folder), arguments={"resource": "banks"})
    task.run()
    task.run(file_format="csv")
    assert not any(path.endswith(".jsonl") for path in tree(folder))


def test_no_rows_at_all(task: Task, tmp_path: Path) -> None:
    summary = task.run(where={"name": "no such bank"})
    assert (summary["rows"], summary["files"], summary["workspaces"]) == (0, 0, 0)
    assert set(tree(tmp_path)) == {"resource=banks/_manifest.json"}


def test_filters(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    portal, _ = banksync_sandbox.portals[1]
    feeds = truth(banksync_sandbox, "/v1/feeds?scope=family")
    task.run(resource="feeds", workspace_ids=[portal], where={"dataType": ["transactions", "balances"]})
    (rows,) = rows_of(tmp_path).values()
    assert [row["id"] for row in rows] == [
        feed["id"]
        for feed in feeds
        if feed["workspaceId"] == portal and feed["dataType"] in ("transactions", "balances")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"destination": ""}, "destination is ''"),
        ({"destination": "None"}, "destination is 'None'"),
        ({"destination": "file://"}, "destination is 'file://'"),
        ({"destination": "lake"}, "'lake' is not an absolute path"),
        ({"destination": "~/lake"}, "is not an absolute path"),
        ({"destination": "s3//bucket"}, "is not an absolute path"),
        ({"destination": "file:lake"}, "is not an absolute path"),
        ({"destination": "file://data/lake"}, "is not an absolute path"),
        ({"destination": "file:////data/lake"}, "is not an absolute path"),
        ({"destination": "FILE://localhost/data/lake"}, "is not an absolute path"),
        ({"destination": "/data/lake "}, "begins or ends with a space"),
        ({"destination": "file:///data\n/lake"}, "or contains a line break"),
        ({"destination": "C:\\data"}, "cannot be used"),
        (
            {"storage_conn_id": "nobody_s"},
            "no connection 'nobody_s', which storage_conn_id or the destination names",
        ),
        ({"destination": "nosuchscheme://bucket/x"}, "cannot be (used|written)"),
        ({"destination": "file:///proc/nowhere/x"}, "cannot be written"),
        ({"resource": "bank"}, "resource must be one of"),
        ({"scope": "everyone"}, "scope must be"),
        ({"scope": "family", "resource": "portals"}, "has no scope='family'"),
        ({"workspace_ids": ["x"], "scope": "self"}, "workspace_ids needs scope='family'"),
        ({"workspace_ids": "x"}, "workspace_ids must be a list"),
        ({"account_ids": ["x"]}, "account_ids is for data of accounts"),
        ({"bank_ids": ["x"]}, "bank_ids is for accounts"),
        ({"where": ["x"]}, "where must be a dict"),
        ({"from_date": "2026-01-01"}, "from_date and to_date are for transactions and trades"),
        ({"resource": "transactions", "to_date": "2026-01-01"}, "to_date needs a from_date"),
        ({"resource": "transactions", "from_date": "1 January"}, "from_date must be a day"),
        ({"resource": "transactions", "from_date": "2026-02-01", "to_date": "2026-01-01"}, "is after"),
        (
            {"resource": "transactions", "from_date": "2027-02-01"},
            "is after the last day of the data interval",
        ),
        ({"resource": "trades", "incremental": True}, "incremental is for transactions"),
        (
            {"resource": "transactions", "incremental": True, "to_date": "2026-01-01"},
            "to_date cannot be used",
        ),
        ({"resource": "transactions", "full_refresh": True}, "full_refresh needs incremental=True"),
        ({"resource": "transactions", "full_refresh": "perhaps"}, "full_refresh must be true or false"),
    ],
)
def test_bad_input_fails_before_anything_is_asked(
    banksync_sandbox: BankSyncSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"resource": "banks", "scope": "family", **arguments}
    destination = given.pop("destination", tmp_path.as_uri())
    with pytest.raises(AirflowException, match=words):
        Task(destination).run(**given)
    assert banksync_sandbox.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"file_format": "xml"}, "file_format must be one of jsonl, csv, parquet, not 'xml'"),
        ({"compression": "bzip2"}, "compression must be one of None, gzip, zstd"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1 to 64"),
        ({"concurrency": "8"}, "concurrency must be a whole number"),
        ({"max_rows_per_file": -1}, "max_rows_per_file must be a whole number of at least 1"),
        ({"incremental": "False"}, "incremental must be True or False, not 'False'"),
        ({"escape_formulas": "{{ params.escape }}"}, "escape_formulas must be True or False"),
        ({"on_unavailable": "ignore"}, "on_unavailable must be one of fail, report"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_told_there(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BankSyncConfigError, match=words):
        BankSyncToObjectStorageOperator(task_id="x", resource="banks", destination="/tmp/x", **arguments)


def test_numbers_keep_every_digit(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    banksync_sandbox.faults.add(Fault.edited(order=Decimal("1.100000000000000000001")), path="/v1/banks")
    task.run()
    assert all(
        b'"order":1.100000000000000000001' in body for path, body in tree(tmp_path).items() if "part-" in path
    )
