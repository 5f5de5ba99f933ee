"""The workspace of a task. A template that renders empty is an error, and never means the parent workspace."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_banksync.operators.listing import BankSyncListOperator
from tests.support.sandbox_data import truth
from tests.support.task_runs import run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0)


def rendered(value: Any, *, native: bool, mapped: bool = False, **context: Any) -> Any:
    """Return an operator whose templates are rendered."""
    dag = DAG("d", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None)
    dag.render_template_as_native_obj = native
    operator = BankSyncListOperator(task_id="t", dag=dag, resource="feeds", workspace_id=value)
    if mapped:  # as a mapped operator renders each of its tasks
        operator._do_render_template_fields(
            operator, operator.template_fields, context, dag.get_template_env(), set()
        )
    else:
        operator.render_template_fields(context)
    return operator


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("template", "where"), [("{{ where }}", None), ("{{ where }}", ""), ("{{ where }}", " ")]
)
def test_an_empty_workspace_is_an_error(
    banksync_sandbox: BankSyncSandbox, template: str, where: Any, native: bool, mapped: bool
) -> None:
    operator = rendered(template, native=native, mapped=mapped, where=where)
    with pytest.raises(AirflowFailException, match="workspace_id"):
        run_task(operator)
    assert banksync_sandbox.requests == []


@pytest.mark.parametrize("native", [False, True])
def test_none_means_the_workspace_of_the_connection(banksync_sandbox: BankSyncSandbox, native: bool) -> None:
    found = run_task(rendered(None, native=native)).result
    assert [row["id"] for row in found] == [row["id"] for row in truth(banksync_sandbox, "/v1/feeds")]


@pytest.mark.parametrize("native", [False, True])
def test_a_template_with_the_id_of_a_portal(banksync_sandbox: BankSyncSandbox, native: bool) -> None:
    portal, _ = banksync_sandbox.portals[0]
    found = run_task(rendered("{{ where }}", native=native, where=portal)).result
    assert [row["id"] for row in found] == [row["id"] for row in truth(banksync_sandbox, "/v1/feeds", portal)]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "template",
    ["{{ params.where }}", "{{params['where']}}", '{{- params["where"] -}}', " {{ params.where }} "],
)
def test_a_param_that_is_left_empty_is_none(
    banksync_sandbox: BankSyncSandbox, template: str, native: bool, mapped: bool
) -> None:
    operator = rendered(template, native=native, mapped=mapped, params={"where": None})
    assert operator.workspace_id is None
    found = run_task(operator).result
    assert [row["id"] for row in found] == [row["id"] for row in truth(banksync_sandbox, "/v1/feeds")]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("template", "where"),
    [("{{ params.where }}", ""), ("{{ params.where or where }}", None)],
)
def test_only_a_template_of_one_param_may_be_none(
    banksync_sandbox: BankSyncSandbox, template: str, where: Any, native: bool
) -> None:
    operator = rendered(template, native=native, params={"where": where}, where=None)
    with pytest.raises(AirflowFailException, match="workspace_id"):
        run_task(operator)
    assert banksync_sandbox.requests == []


def test_a_param_with_the_id_of_a_portal(banksync_sandbox: BankSyncSandbox) -> None:
    portal, _ = banksync_sandbox.portals[0]
    operator = rendered("{{ params.where }}", native=False, params={"where": portal})
    assert operator.workspace_id == portal
