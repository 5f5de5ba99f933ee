"""A listing by name, through a hook's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.flows.listings import list_resource

if TYPE_CHECKING:
    from airflow_provider_banksync.hooks.banksync import BankSyncHook


def listed(hook: BankSyncHook, resource: str, scope: str) -> list[dict[str, Any]]:
    """Return the rows of a listing."""
    client = hook.get_conn()
    config = client.config
    return client.run(
        list_resource(resource, scope, internal=config.internal, workspace_id=config.workspace_id)
    )
