"""Listings to files: what a second run does, what a manifest of others can do, and bad input."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.export.harness import Task, manifest_of, rows_of, tree
from tests.hooks.test_hook import truth

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
    assert set(tree(tmp_path)) == {f"{own}/_manifest.json", f"{own}/part-00000.jsonl"}
    rows = rows_of(tmp_path)[f"{own}/part-00000.jsonl"]
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


def test_the_family_takes_over_and_one_workspace_does_not(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    task.run(scope="self", workspace_id=portal, file_format="csv")
    task.run()
    assert set(tree(tmp_path / "resource=banks" / f"workspace_id={portal}")) == {"part-00000.jsonl"}
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match="holds an export of the family"):
        task.run(scope="self", workspace_id=portal)
    assert tree(tmp_path) == before


def test_a_second_run_leaves_the_same_files(task: Task, tmp_path: Path) -> None:
    def files() -> dict[str, Any]:
        found: dict[str, Any] = dict(tree(tmp_path))
        path = "resource=banks/_manifest.json"
        found[path] = {**json.loads(found[path]), "generated_at": None}
        return found

    task.run()
    first = files()
    task.run()
    assert files() == first


def test_what_is_gone_is_removed_and_what_is_not_ours_stays(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run()
    gone, _ = banksync_sandbox.portals[0]
    folder = tmp_path / "resource=banks" / f"workspace_id={gone}"
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    banksync_sandbox.delete_portal(gone)
    task.run()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").exists()


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
    assert rows_of(tmp_path) == good


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"{",
        b"[]",
        b'{"files": 1}',
        b'{"files": [1]}',
        b'{"files": [{"path": "part-x"}], "accounts": 3}',
        b'{"files": [{"path": 7}]}',
    ],
)
@pytest.mark.parametrize("name", ["_manifest.json", "_previous_manifest.json"])
def test_a_damaged_manifest_is_no_obstacle(task: Task, tmp_path: Path, name: str, before: bytes) -> None:
    (tmp_path / "resource=banks").mkdir()
    (tmp_path / "resource=banks" / name).write_bytes(before)
    summary = task.run()
    assert manifest_of(summary)["rows"] == summary["rows"] > 0
    assert not (tmp_path / "resource=banks" / "_previous_manifest.json").exists()


def test_a_manifest_cannot_make_us_remove_what_is_not_ours(task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "resource=banks"
    folder.mkdir()
    outside = tmp_path / "part-outside"
    outside.write_text("mine")
    (folder / "_manifest.json").write_text(json.dumps({"files": [{"path": "../part-outside"}]}))
    (folder / "_previous_manifest.json").write_text(json.dumps({"known": ["../part-outside", 7, None]}))
    task.run()
    assert outside.read_text() == "mine"


def test_a_run_that_breaks_off_leaves_no_manifest_and_the_next_one_mends_it(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run()
    portal, _ = banksync_sandbox.portals[0]
    blocked = tmp_path / "resource=banks" / f"workspace_id={portal}"
    good = tree(tmp_path)
    (blocked / "part-00000.jsonl").unlink()
    (blocked / "part-00000.jsonl").mkdir()  # a folder in the way of the file: no permission stops root
    with pytest.raises(AirflowException, match="cannot be written: Is a directory"):
        task.run()
    assert "resource=banks/_manifest.json" not in tree(tmp_path)
    (blocked / "part-00000.jsonl").rmdir()
    task.run()
    assert set(tree(tmp_path)) == set(good)


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
    before = rows_of(tmp_path)
    portal, name = banksync_sandbox.portals[0]
    banksync_sandbox.faults.add(Fault.status(403), path="/v1/banks/*/accounts", workspace_id=portal)
    with pytest.raises(AirflowFailException, match=f"client '{name}': bank .* 403"):
        task.run(resource="accounts")
    assert rows_of(tmp_path) == before, "what was there of the client is kept"
    summary = task.run(resource="accounts", on_unavailable="report")
    assert {(each["workspace_id"], each["reason"]) for each in summary["unavailable"]} == {
        (portal, "forbidden")
    }
    assert rows_of(tmp_path) == before


@pytest.mark.parametrize("resource", ["accounts", "jobs", "enrichments"])
def test_one_client_has_no_trouble_with_another_ones(
    banksync_sandbox: BankSyncSandbox, task: Task, resource: str
) -> None:
    (wanted, _), (other, _), *_ = banksync_sandbox.portals
    for path in ("/v1/banks/*/accounts", "/v1/feeds/*/jobs", "/v1/enrichments"):
        rule = banksync_sandbox.faults.add(Fault.status(403), path=path, workspace_id=other)
        summary = task.run(resource=resource, workspace_ids=[wanted])
        assert (summary["workspaces"], summary["unavailable"], rule.hits) == (1, [], 0)


def test_a_folder_with_brackets_in_its_name(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    folder = tmp_path / "la[k]e *"
    task = Task(str(folder), arguments={"resource": "banks"})
    task.run()
    gone, _ = banksync_sandbox.portals[0]
    banksync_sandbox.delete_portal(gone)
    task.run()
    assert not any(gone in path for path in tree(folder))


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
        ({"destination": "lake"}, "'lake' is not the whole path of a folder"),
        ({"destination": "~/lake"}, "is not the whole path"),
        ({"destination": "s3//bucket"}, "is not the whole path"),
        ({"destination": "file:lake"}, "is not the whole path"),
        ({"destination": "file://data/lake"}, "is not the whole path"),
        ({"destination": "file:////data/lake"}, "is not the whole path"),
        ({"destination": "FILE://localhost/data/lake"}, "is not the whole path"),
        ({"destination": "/data/lake "}, "begins or ends with a space"),
        ({"destination": "file:///data\n/lake"}, "or holds a line break"),
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
        ({"account_ids": ["x"]}, "account_ids is for the data of accounts"),
        ({"bank_ids": ["x"]}, "bank_ids is for accounts"),
        ({"where": ["x"]}, "where must be a dict"),
        ({"from_date": "2026-01-01"}, "from_date and to_date are for transactions and trades"),
        ({"resource": "transactions", "to_date": "2026-01-01"}, "to_date needs a from_date"),
        ({"resource": "transactions", "from_date": "1 January"}, "from_date must be a day"),
        ({"resource": "transactions", "from_date": "2026-02-01", "to_date": "2026-01-01"}, "is after"),
        ({"resource": "transactions", "from_date": "2027-02-01"}, "is after the last day of the run's"),
        ({"resource": "trades", "incremental": True}, "incremental is for transactions"),
        ({"resource": "transactions", "incremental": True, "to_date": "2026-01-01"}, "to_date does not go"),
        ({"resource": "transactions", "full_refresh": True}, "full_refresh goes with incremental"),
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
