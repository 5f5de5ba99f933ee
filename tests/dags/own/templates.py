"""Names that look like templates, on every way from a listing to a task."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, XComArg, task, task_group

from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator

with DAG(
    "templates",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    schedule=None,
    params={"ids": [], "workspace_id": ""},
    render_template_as_native_obj=True,
) as dag:

    def names(task_id: str) -> XComArg:
        """List the names of the feeds, in their order."""
        feeds = BankSyncListOperator(
            task_id=task_id,
            resource="feeds",
            where={"id": "{{ params.ids }}"},
            fields={"value": "name"},
            workspace_id="{{ params.workspace_id }}",
        )
        return feeds.output

    @task
    def show(value: Any) -> Any:
        """Return what arrives."""
        return value

    @task
    def pass_on(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        """Return the rows. The names come through this task."""
        return [{"value": row["value"]} for row in rows]

    @task_group
    def group(value: str) -> None:
        """Show what arrives in a mapped group."""
        show.override(task_id="shown")(value)

    plain = names("plain")
    show.override(task_id="output")(plain)
    show.override(task_id="expand").expand(value=plain)
    plain >> show.override(task_id="pulled")("{{ ti.xcom_pull('plain') }}")
    group.expand_kwargs(plain)
    BankSyncTriggerSyncOperator.partial(
        task_id="ours",
        workspace_id="{{ params.workspace_id }}",
        from_date="{{ '2026-01-01' }}",
        to_date="2026-01-02",
        wait_for_completion=False,
    ).expand_kwargs(plain.map(lambda row: {"feed_name": row["value"]}))
    rendered = names("rendered")
    show.override(task_id="direct").expand_kwargs(rendered.map(lambda row: {"value": [row]}))
    show.override(task_id="indirect").expand_kwargs(pass_on(rendered))
