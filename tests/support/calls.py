"""One valid call of every operation that our clients use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call

FEED = {"name": "n", "source": "sync", "dataType": "transactions"}
RULE = {"name": "n", "type": "memory", "dataType": "transactions", "allFeeds": True}
DAYS = {"from_date": "2026-01-01", "to_date": "2026-01-31"}

CALLS: list[Call[Any]] = [
    endpoints.whoami(),
    endpoints.list_workspaces(),
    endpoints.list_banks(),
    endpoints.list_banks("family"),
    endpoints.get_bank("b"),
    endpoints.delete_bank("b"),
    endpoints.create_bank_link({"source": "plaid"}),
    endpoints.list_accounts("b"),
    endpoints.get_account("b", "a/../?#é"),
    endpoints.get_balance("b", "a"),
    endpoints.list_holdings("b", "a"),
    endpoints.get_loan("b", "a"),
    endpoints.list_trades("b", "a"),
    endpoints.list_trades("b", "a", **DAYS),
    endpoints.list_transactions("b", "a", **DAYS),
    endpoints.list_transactions("b", "a", cursor="c/+ ="),
    endpoints.list_feeds("family"),
    endpoints.get_feed("f"),
    endpoints.create_feed(FEED),
    endpoints.update_feed("f", {"name": "m"}),
    endpoints.delete_feed("f"),
    endpoints.trigger_sync("f"),
    endpoints.trigger_sync("f", **DAYS),
    endpoints.trigger_learn("f"),
    endpoints.list_jobs("f", "failed", 5),
    endpoints.get_job("f", "j"),
    endpoints.cancel_job("f", "j"),
    endpoints.list_all_jobs("family", "completed", 3),
    endpoints.list_enrichments(),
    endpoints.get_enrichment("e"),
    endpoints.create_enrichment(RULE),
    endpoints.update_enrichment("e", {"enabled": False}),
    endpoints.delete_enrichment("e"),
    endpoints.preview_enrichment("f", [{"description": "d"}]),
    endpoints.list_integrations("family"),
    endpoints.delete_integration("i"),
]
