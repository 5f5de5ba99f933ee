"""Batches that several tasks write, or one task with other filters: no client is left out, no row comes twice."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.export.__main__ import main as verify_command
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import exported, family, read_accounts, truth, without_empty
from tests.support.export_task import Task, edit_manifest, manifest_of, record_warnings, rows_of, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    Batches = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=20)


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions", "incremental": True})


@pytest.fixture
def batches(task: Task) -> Batches:
    """Run one batch after the other, each of a DAG run of its own."""
    numbers = itertools.count(1)

    def run(**arguments: Any) -> dict[str, Any]:
        number = next(numbers)
        task.run_id = f"run {number}"
        task.run_after = datetime(2026, 3, 3, number, tzinfo=timezone.utc)
        return task.run(**arguments)

    return run


def broken_bank(sandbox: BankSyncSandbox) -> dict[str, Any]:
    """Break a bank that has an account with rows, and return it."""
    of, bank, account = family()[-1]
    assert truth()[of, account["id"]]
    sandbox.break_bank(bank["id"])
    return bank


def assert_nothing_twice(folder: Path) -> None:
    ids = [row["id"] for rows in exported(folder).values() for row in rows]
    assert len(ids) == len(set(ids)) > 0


def assert_all_is_listed(folder: Path) -> None:
    listed = {
        f"resource=transactions/{file['path']}"
        for path in folder.rglob("_manifest.json")
        for file in json.loads(path.read_bytes())["files"]
    }
    assert listed == set(rows_of(folder))


def test_one_task_a_client_writes_its_part_of_one_batch(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    workspaces = sorted({workspace for workspace, *_ in family()})
    for number, hour in ((1, 5), (2, 6)):
        task.run_id, task.run_after = f"run {number}", datetime(2026, 3, 3, hour, tzinfo=timezone.utc)
        for task.map_index, workspace in enumerate(workspaces):
            summary = task.run(workspace_ids=[workspace])
        assert exported(tmp_path) == without_empty(truth())
    assert (summary["rows"], len(manifest_of(summary)["accounts"])) == (0, len(family()))
    # Each is done now, whichever is cleared.
    before, asked = tree(tmp_path), len(banksync_sandbox.requests)
    for task.map_index, workspace in enumerate(workspaces):
        task.run(workspace_ids=[workspace])
    assert tree(tmp_path) == before
    assert {record.path for record in banksync_sandbox.requests[asked:]} == {"/v1/whoami"}


def test_who_adds_to_a_batch_takes_nothing_from_it(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    bank = broken_bank(banksync_sandbox)
    batches(on_unavailable="report")
    banksync_sandbox.mend_bank(bank["id"])
    summary = task.run(bank_ids=[bank["id"]])
    assert (summary["rows"], summary["unavailable"]) == (sum(map(len, truth().values())), [])
    assert_all_is_listed(tmp_path)
    assert batches()["rows"] == 0


def test_a_portal_that_goes_between_two_tries_stays_in_the_batch(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    bank = broken_bank(banksync_sandbox)
    before = batches(on_unavailable="report")["rows"]
    banksync_sandbox.mend_bank(bank["id"])
    banksync_sandbox.delete_portal(
        next(portal for portal, _ in banksync_sandbox.portals if portal != family()[-1][0])
    )
    assert task.run()["rows"] > before
    assert_all_is_listed(tmp_path)


def test_a_full_refresh_of_one_account_forgets_no_other(
    banksync_sandbox: BankSyncSandbox, batches: Batches
) -> None:
    batches()
    workspace, _, account = family()[3]
    refreshed = batches(full_refresh=True, account_ids=[account["id"]])
    assert refreshed["rows"] == len(truth()[workspace, account["id"]]) > 0
    assert batches(full_refresh=True, where={"id": account["id"]})["rows"] == refreshed["rows"]
    assert batches()["rows"] == 0


def test_an_older_run_that_asked_for_more_adds_to_the_newest_batch(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    batches()
    older = task.run_id, task.run_after = "late", datetime(2026, 3, 3, 1, 30, tzinfo=timezone.utc)
    one, other = family()[0][2]["id"], family()[3][2]["id"]
    for account in (one, other):
        banksync_sandbox.add_transaction(account, "-12.50", "Tea")
    newest = batches(account_ids=[one])
    assert newest["rows"] == 1
    task.run_id, task.run_after = older
    added = task.run()
    assert (added["manifest"], added["rows"]) == (newest["manifest"], 2)
    assert exported(tmp_path) == without_empty(truth())
    assert_nothing_twice(tmp_path)
    asked = len(banksync_sandbox.requests)
    assert task.run() == added
    assert not read_accounts(banksync_sandbox, asked)
    assert batches()["rows"] == 0


def test_a_full_refresh_of_a_complete_batch_reads_it_again_once(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    batches()
    *_, account = family()[0]
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea")
    for requests in (len(family()), 0):
        asked = len(banksync_sandbox.requests)
        summary = task.run(full_refresh=True)
        assert sum(read_accounts(banksync_sandbox, asked).values()) == requests
        assert summary["rows"] == sum(map(len, truth().values()))
        assert exported(tmp_path) == without_empty(truth())
        assert_nothing_twice(tmp_path)
    assert batches()["rows"] == 0


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{")], ids=["gone", "cut"])
def test_an_account_whose_file_is_damaged_is_read_again_into_the_next_batch(
    banksync_sandbox: BankSyncSandbox,
    batches: Batches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
) -> None:
    *_, account = family()[0]
    batches()
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea")
    lost = manifest_of(batches())["files"][0]["path"]
    damage(tmp_path / "resource=transactions" / lost)
    warnings = record_warnings(monkeypatch)
    assert batches()["rows"] == 1
    words = f"{lost} is missing, or is not as the manifest of batch="
    assert [each for each in warnings if each.startswith(words)]
    assert batches()["rows"] == 0


@pytest.mark.parametrize("family_first", [True, False], ids=["the family first", "one workspace first"])
def test_batches_of_the_family_and_of_one_workspace_do_not_mix(
    banksync_sandbox: BankSyncSandbox, batches: Batches, tmp_path: Path, family_first: bool
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    alone = {"scope": "self", "workspace_id": portal}
    batches(**({} if family_first else alone))
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match="Use another destination, or scope="):
        batches(**(alone if family_first else {}))
    assert tree(tmp_path) == before


def test_a_further_try_that_was_killed_leaves_nothing_in_a_batch(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    bank = broken_bank(banksync_sandbox)
    batches(on_unavailable="report")
    banksync_sandbox.mend_bank(bank["id"])
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=2)
    with pytest.raises(AirflowFailException, match="401"):
        task.run(concurrency=1, max_rows_per_file=7)
    banksync_sandbox.faults.clear()
    assert batches()["rows"] > 0
    assert_nothing_twice(tmp_path)
    assert_all_is_listed(tmp_path)
    assert exported(tmp_path).keys() == without_empty(truth()).keys()


def test_what_another_task_left_half_done_in_a_batch_does_not_stay(
    banksync_sandbox: BankSyncSandbox, batches: Batches, task: Task, tmp_path: Path
) -> None:
    one, other = sorted({workspace for workspace, *_ in family()})[:2]
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=4)
    with pytest.raises(AirflowFailException, match="401"):
        batches(workspace_ids=[one], concurrency=1, max_rows_per_file=7)
    banksync_sandbox.faults.clear()
    assert rows_of(tmp_path)
    task.map_index = 1
    task.run(workspace_ids=[other])
    assert_all_is_listed(tmp_path)
    batches()
    assert_nothing_twice(tmp_path)
    assert exported(tmp_path) == without_empty(truth())


@pytest.mark.parametrize(
    "damage",
    [
        lambda manifest: {},
        lambda manifest: {**manifest, "files": 3},
        lambda manifest: {**manifest, "accounts": [{"workspace_id": "x"}]},
        lambda manifest: {**manifest, "unavailable": None},
        lambda manifest: {**manifest, "files": [{**manifest["files"][0], "path": "../part-x"}]},
        lambda manifest: {**manifest, "selections": None},
        lambda manifest: {**manifest, "files": []},
        lambda manifest: {**manifest, "files": manifest["files"][1:]},
        lambda manifest: {**manifest, "files": [*manifest["files"], manifest["files"][0]]},
        lambda manifest: {name: value for name, value in manifest.items() if name != "accounts"},
        lambda manifest: {**manifest, "accounts": manifest["accounts"][1:]},
        lambda manifest: {**manifest, "rows": -1},
        lambda manifest: {**manifest, "format_version": 4},
    ],
    ids=[
        "empty",
        "files",
        "accounts",
        "unavailable",
        "path",
        "selections",
        "no files",
        "a file less",
        "a file twice",
        "no accounts",
        "an account less",
        "rows",
        "version",
    ],
)
@pytest.mark.parametrize("whose", ["its own", "the batch before"])
def test_a_batch_whose_manifest_is_damaged_is_refused(
    batches: Batches, task: Task, tmp_path: Path, damage: Any, whose: str
) -> None:
    path = Path(batches()["manifest"].removeprefix("file://"))
    good = path.read_bytes()
    edit_manifest(path, damage)
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path}.*(is damaged|format_version 4)"):
        task.run() if whose == "its own" else batches()
    assert tree(tmp_path) == before
    path.write_bytes(good)
    batches()
    assert exported(tmp_path) == without_empty(truth())
    assert_nothing_twice(tmp_path)


def lose_a_cursor(manifest: dict[str, Any]) -> None:
    del manifest["accounts"][0]["cursor"]


def carry_no_cursors(manifest: dict[str, Any]) -> None:
    assert manifest.pop("carried_cursors")


@pytest.mark.parametrize(
    "damage",
    [
        lose_a_cursor,
        carry_no_cursors,
        lambda manifest: manifest["accounts"][0].update(cursor=manifest["accounts"][-1]["cursor"]),
        lambda manifest: manifest["accounts"][0].update(gone="2026-01-01T00:00:00Z"),
        lambda manifest: manifest["files"][0].update(sha256="0" * 64),
        lambda manifest: manifest.update(selections=[]),
        lambda manifest: manifest.update(checksum=None),
    ],
    ids=["cursor", "carried", "other cursor", "gone", "sha256", "selections", "checksum"],
)
def test_a_manifest_that_was_changed_is_refused(
    batches: Batches, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Any], object]
) -> None:
    """Each of these is a manifest in itself: only its checksum tells."""
    one, other = sorted({workspace for workspace, *_ in family()})[:2]
    batches(workspace_ids=[one])
    path = Path(batches(workspace_ids=[other])["manifest"].removeprefix("file://"))
    good = path.read_bytes()
    manifest = json.loads(good)
    damage(manifest)
    path.write_text(json.dumps(manifest))
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path} is not a manifest .*damaged.*Restore the file"):
        batches()
    assert tree(tmp_path) == before
    assert verify_command(["verify", str(tmp_path)]) == 1
    assert f"manifest: destination {tmp_path}" in capsys.readouterr().out
    path.write_text(json.dumps(dict(sorted(json.loads(good).items()))))  # the same in another order
    batches()
    assert exported(tmp_path) == without_empty(truth())
    assert_nothing_twice(tmp_path)


def test_a_manifest_without_a_checksum_is_read(batches: Batches, tmp_path: Path) -> None:
    """Earlier versions wrote none."""
    edit_manifest(Path(batches()["manifest"].removeprefix("file://")), lambda manifest: manifest)
    assert batches()["rows"] == 0


def test_a_batch_whose_manifest_was_removed_keeps_its_files(batches: Batches, tmp_path: Path) -> None:
    path = Path(batches()["manifest"].removeprefix("file://"))
    path.unlink()
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path} is gone"):
        batches()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("run_type", "batch"),
    [
        ("scheduled", "20260303T000000000000Z"),
        ("backfill", "20260303T000000000000Z"),
        ("manual", "20260304T053000000000Z"),
        ("dataset_triggered", "20260304T053000000000Z"),
    ],
)
def test_when_a_run_of_airflow_2_was_due(
    banksync_sandbox: BankSyncSandbox, task: Task, run_type: str, batch: str
) -> None:
    began = datetime(2026, 3, 4, 5, 30, tzinfo=timezone.utc)
    task.dag_run = SimpleNamespace(run_type=run_type, execution_date=began)
    assert manifest_of(task.run(account_ids=[family()[0][2]["id"]]))["batch"] == batch
    assert len(read_accounts(banksync_sandbox)) == 1


def linked_twice(sandbox: BankSyncSandbox, **new: str) -> list[dict[str, Any]]:
    """Give accounts of two banks of one workspace the same institution, currency and last digits."""
    by_workspace: dict[str, dict[str, dict[str, Any]]] = {}
    for workspace, bank, account in family():
        by_workspace.setdefault(workspace, {}).setdefault(bank["id"], account)
    banks = next(banks for banks in by_workspace.values() if len(banks) > 1)
    sandbox.faults.add(Fault.edited(institutionId="ins_1"), path="/v1/banks")
    for number, bank in zip(("****4321", "4321"), banks, strict=False):
        edited = {"accountNumber": number, "currency": "EUR", **new}
        sandbox.faults.add(Fault.edited(**edited), path=f"/v1/banks/{bank}/accounts")
    return list(banks.values())[:2]


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "Two accounts have the same" in line]


@pytest.mark.parametrize("full_refresh", [False, True])
def test_an_account_that_comes_under_another_id_is_named(
    banksync_sandbox: BankSyncSandbox,
    batches: Batches,
    capsys: pytest.CaptureFixture[str],
    full_refresh: bool,
) -> None:
    old, new = linked_twice(banksync_sandbox)
    batches(account_ids=[old["id"]])
    assert warnings(capsys) == []
    batches(account_ids=[new["id"]], full_refresh=full_refresh)
    (line,) = warnings(capsys)
    assert old["id"] in line
    assert new["id"] in line
    assert "docs/reading-exports.md" in line
    batches(account_ids=[old["id"], new["id"]], full_refresh=full_refresh)
    assert warnings(capsys) == []


def test_two_links_of_one_account_are_named_in_the_first_batch(
    banksync_sandbox: BankSyncSandbox, batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = [account["id"] for account in linked_twice(banksync_sandbox)]
    batches(account_ids=accounts)
    (line,) = warnings(capsys)
    assert all(account in line for account in accounts)


@pytest.mark.parametrize("other", [{"accountNumber": ""}, {"accountNumber": None}, {"currency": None}])
def test_accounts_of_which_too_little_is_known_are_not_compared(
    banksync_sandbox: BankSyncSandbox,
    batches: Batches,
    capsys: pytest.CaptureFixture[str],
    other: dict[str, Any],
) -> None:
    batches(account_ids=[account["id"] for account in linked_twice(banksync_sandbox, **other)])
    assert warnings(capsys) == []
