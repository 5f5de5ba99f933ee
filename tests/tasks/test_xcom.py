"""What tasks leave in Airflow's database: characters that it stores, sizes, and no templates of others."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowSkipException,
    Asset,
    BaseOperator,
    task,
)

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.compat import mask_secret, stored_size
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncValidationError
from airflow_provider_banksync.operators.feeds import BankSyncDeleteFeedOperator
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import (
    BankSyncCancelJobOperator,
    BankSyncFamilySyncOperator,
    BankSyncTriggerSyncOperator,
)
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.tasks.task_store import TaskStore
from airflow_provider_banksync.tasks.trigger_events import encode_rows, error_to_event
from airflow_provider_banksync.tasks.xcom import WITHHELD, to_xcom
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from airflow_provider_banksync.triggers.job import BankSyncJobTrigger
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import BOTH, Logged, run_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)

#: A text with characters that databases refuse, and what is stored of it.
BAD, GOOD = "a\0b\ud83dc😀", "a\ufffdb\ufffdc😀"


# --- characters ---


def test_characters_that_no_database_stores_are_replaced() -> None:
    assert to_xcom({BAD: [BAD, {"x": BAD}], "n": Decimal("1.5")}) == {
        GOOD: [GOOD, {"x": GOOD}],
        "n": Decimal("1.5"),
    }
    assert json.loads(encode_rows([{BAD: BAD}, (BAD, 1)])) == [{GOOD: GOOD}, [GOOD, 1]]
    assert error_to_event(BankSyncError(BAD))["message"] == GOOD
    stored: dict[str, Any] = {}
    context: Any = {"task_state_store": SimpleNamespace(set=stored.__setitem__)}
    TaskStore(context, None, durable=True).set("key", {"x": [BAD]})
    assert stored == {"key": {"x": [GOOD]}}
    _, kwargs = BankSyncJobTrigger(feed_id=BAD, job_id="j", deadline=1).serialize()
    assert kwargs["feed_id"] == GOOD


@BOTH
def test_a_job_with_such_a_message(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    message = [{"timestamp": "2026-01-01T00:00:00Z", "message": "a\0b"}]
    banksync_sandbox.faults.add(Fault.edited(errors=message), method="GET", path="/v1/feeds/*/jobs/*")
    run = run_task(
        BankSyncTriggerSyncOperator(
            task_id="sync",
            feed_id=feed["id"],
            workspace_id=feed["workspaceId"],
            deferrable=deferrable,
            poll_interval=0.01,
        )
    )
    assert run.result["errors"][0]["message"] == "a\ufffdb"
    assert "\0" not in json.dumps(run.events, ensure_ascii=False)
    assert r"\u0000" not in json.dumps(run.events)


def test_an_asset_event_with_such_a_name(banksync_sandbox: BankSyncSandbox, tmp_path: Any) -> None:
    asset = Asset("banksync://banks")
    event = SimpleNamespace(extra={})

    class Events:
        """As in Airflow: its keys are assets, which Airflow 3.0 cannot hash."""

        def __getitem__(self, key: Any) -> SimpleNamespace:
            return {asset.uri: event}[key.uri]

    export = BankSyncToObjectStorageOperator(
        task_id="export", resource="banks", destination=str(tmp_path), outlets=[asset]
    )
    summary = {"unavailable": [{"bank": BAD}]}
    context: Any = {"outlet_events": Events(), "ti": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_banksync.tasks.export_task.ExportTask.run", lambda _: summary)
        assert export.execute(context) == {"unavailable": [{"bank": GOOD}]}
    assert event.extra == {"unavailable": [{"bank": GOOD}]}


# --- size ---


def test_the_size_is_that_of_what_airflow_stores(banksync_sandbox: BankSyncSandbox) -> None:
    rows = [{"id": f"é{number}", "balance": Decimal("1.5")} for number in range(3)]
    banksync_sandbox.faults.add(
        Fault.answer(
            200, '{"success": true, "data": [{"id": "é", "balance": 1.5}]}', media_type="application/json"
        ),
        path="/v1/banks",
    )
    size = stored_size([{"id": "é", "balance": Decimal("1.5")}])
    assert size > len('[{"id":"é","balance":1.5}]'), "a decimal is stored with its type"
    listed = BankSyncListOperator(task_id="list", resource="banks", max_xcom_bytes=size)
    assert run_task(listed).result == [{"id": "é", "balance": Decimal("1.5")}]
    listed.max_xcom_bytes = size - 1
    with pytest.raises(AirflowFailException, match=f"take {size} bytes, but max_xcom_bytes is {size - 1}"):
        run_task(listed)
    assert stored_size(rows) > 2 * size


# --- secrets ---


@BOTH
def test_errors_quote_no_secret_that_airflow_knows(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    mask_secret("hunter2-of-the-firm")
    for wrong in ("hunter2-of-the-firm", "x\thunter2-of-the-firm"):
        sensor = BankSyncBankConnectedSensor(
            task_id="bank", bank_id=wrong, deferrable=deferrable, poke_interval=0.01
        )
        with pytest.raises(AirflowFailException) as caught:
            run_task(sensor)
        texts = [str(caught.value), str(caught.value.__cause__), repr(caught.value.__cause__)]
        assert [text for text in texts if "hunter2" in text] == []
    delete = BankSyncDeleteFeedOperator(task_id="delete", feed_id="hunter2-of-the-firm", if_missing="skip")
    with pytest.raises(AirflowSkipException) as skipped:
        run_task(delete)
    assert "hunter2" not in f"{skipped.value} {skipped.value.__cause__}"
    error = BankSyncValidationError(
        "m hunter2-of-the-firm",
        hint="h hunter2-of-the-firm",
        method="GET",
        path="/hunter2-of-the-firm",
        errors=["hunter2-of-the-firm"],
    )
    error.hide("hunter2-of-the-firm")
    assert "hunter2" not in f"{error} {error!r} {error.errors}"


# --- templates ---

ATTACK = "{{ conn.bank.password }}"


class Foreign(BaseOperator):
    """An operator of somebody else, which renders its fields."""

    template_fields: Sequence[str] = ("value",)
    template_ext: Sequence[str] = (".sh",)

    def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


def dag(**arguments: Any) -> Any:
    return DAG("dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), **arguments)


def name_bank(sandbox: BankSyncSandbox, name: str) -> None:
    sandbox.faults.add(
        Fault.answer(
            200,
            json.dumps({"success": True, "data": [{"id": "b1", "name": name}]}),
            media_type="application/json",
        ),
        path="/v1/banks",
    )


@pytest.mark.parametrize("name", [ATTACK, "{% raw %}", "{# x #}", "run.sh"])
def test_a_text_that_another_operator_would_render_is_withheld(
    banksync_sandbox: BankSyncSandbox, logged: Logged, name: str
) -> None:
    name_bank(banksync_sandbox, name)
    with dag():
        banks = BankSyncListOperator(task_id="banks", resource="banks")
        Foreign.partial(task_id="mail").expand_kwargs(banks.output.map(lambda row: {"value": row}))
    assert run_task(banks).result == [{"id": "b1", "name": WITHHELD}]
    assert f"Withheld 1 text from XCom: row 1, field name: {name!r}. Task mail is mapped" in logged()
    banks.fields = ["id"]
    assert run_task(banks).result == [{"id": "b1"}]
    assert "Withheld" not in logged()


def test_the_markers_are_those_of_the_dag(banksync_sandbox: BankSyncSandbox) -> None:
    name_bank(banksync_sandbox, "<< x >> {{ y }}")
    with dag(jinja_environment_kwargs={"variable_start_string": "<<", "variable_end_string": ">>"}):
        banks = BankSyncListOperator(task_id="banks", resource="banks")
        Foreign.partial(task_id="mail").expand_kwargs(banks.output)
    assert run_task(banks).result == [{"id": "b1", "name": WITHHELD}]
    name_bank(banksync_sandbox, "{{ y }}")


def test_a_text_that_nobody_renders_stays(banksync_sandbox: BankSyncSandbox, logged: Logged) -> None:
    name_bank(banksync_sandbox, ATTACK)
    with dag():
        banks = BankSyncListOperator(task_id="banks", resource="banks")
        Foreign(task_id="plain", value=banks.output)
        Foreign.partial(task_id="expand").expand(value=banks.output)
        one = Foreign.partial(task_id="literal").expand_kwargs([{"value": "{{ ds }}"}])
        banks >> one
        other = BankSyncListOperator(task_id="other", resource="feeds")
        Foreign.partial(task_id="of_another").expand_kwargs(other.output)
        BankSyncTriggerSyncOperator.partial(task_id="ours").expand_kwargs(banks.output)
    assert run_task(banks).result == [{"id": "b1", "name": ATTACK}]
    assert "Withheld" not in logged()


def test_a_result_that_reaches_a_template_over_another_task(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)

    @task
    def rows(results: Any) -> list[dict[str, Any]]:
        return [{"value": results}]

    where = {"feed_id": feed["id"], "workspace_id": feed["workspaceId"]}
    with dag():
        family = BankSyncFamilySyncOperator(task_id="family", feed_ids=[feed["id"]], poll_interval=0.01)
        sync = BankSyncTriggerSyncOperator(task_id="sync", poll_interval=0.01, **where)
        cancel = BankSyncCancelJobOperator(task_id="cancel", feed_id=feed["id"], job_id="j")
        bank = BankSyncBankConnectedSensor(task_id="bank", bank_id="b1")
        for number, each in enumerate((family, sync, cancel, bank)):
            arrived = rows.override(task_id=f"rows_{number}")(each.output)
            Foreign.partial(task_id=f"mail_{number}").expand_kwargs(arrived)
    for each in (family, sync, cancel, bank):
        assert each.to_xcom({"f": {"portal": ATTACK, "error": ["x", f"b {ATTACK}"]}}) == {
            "f": {"portal": WITHHELD, "error": ["x", WITHHELD]}
        }
    banksync_sandbox.faults.add(Fault.edited(reference=ATTACK), method="GET", path="/v1/feeds/*/jobs/*")
    assert run_task(sync).result["reference"] == WITHHELD
