"""Wrong arguments are refused before anything is sent, with an error that names them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.flows import listings
from airflow_provider_banksync.api.jobs import JobStatus
from airflow_provider_banksync.api.validation import validate_seconds
from tests.support.scripted_server import ScriptedServer, ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.config import ClientConfig
    from tests.support.client_driver import ClientDriver

HALF = "caf\ud83d"
ITSELF: dict[str, Any] = {}
ITSELF["it"] = ITSELF


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: endpoints.get_feed(HALF), "feed_id must be"),
        (lambda: endpoints.list_transactions("b", "a", cursor=HALF), "cursor must be"),
        (lambda: endpoints.list_transactions("b", "a", cursor=0), "cursor must be"),  # type: ignore[arg-type]
        (lambda: endpoints.create_feed({"name": HALF}), "body contains a value that JSON cannot represent"),
        (lambda: endpoints.create_feed(ITSELF), "contains itself"),
        (lambda: endpoints.create_feed({"n": float("nan")}), "the number nan"),
        (lambda: endpoints.create_feed({"n": [Decimal("Infinity")]}), "the number Infinity"),
        (lambda: endpoints.create_feed({"n": {"m": Decimal("sNaN")}}), "the number sNaN"),
        (lambda: endpoints.preview_enrichment("f", [{"n": float("inf")}]), "the number inf"),
        (lambda: endpoints.create_feed({"n": object()}), "body contains a value that JSON cannot represent"),
        (lambda: endpoints.trigger_sync("f", "2026-02-31"), "from_date must be a day"),
        (lambda: endpoints.trigger_sync("f", "2026-13-01"), "from_date must be a day"),
        (
            lambda: endpoints.trigger_sync("f", None, "\uff12\uff10\uff12\uff16-01-01"),
            "to_date must be a day",
        ),
        (lambda: endpoints.trigger_sync("f", "2026-01-01\n"), "from_date must be a day"),
        (lambda: endpoints.list_jobs("f", "finished"), "status must be one of queued, in_progress"),
        (lambda: endpoints.list_jobs("f", ["failed"]), "status must be one of"),  # type: ignore[arg-type]
        (lambda: endpoints.list_jobs("f", limit=0), "limit must be"),
    ],
)
def test_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        make()


@pytest.mark.parametrize("workspace_id", ["", " ", 0, False, [], "None", "a b", HALF])
@pytest.mark.parametrize(
    "make", [endpoints.get_bank, endpoints.delete_feed, endpoints.trigger_sync, endpoints.trigger_learn]
)
def test_only_none_means_the_own_workspace(make: Any, workspace_id: Any) -> None:
    with pytest.raises(x.BankSyncConfigError, match="workspace_id must be"):
        make("id", workspace_id=workspace_id)
    assert make("id", workspace_id=None).request.workspace_id is None


def test_a_status_is_sent_in_the_apis_word(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), ok([])]
    for status in (JobStatus.COMPLETED, "completed"):
        driver.run(config, endpoints.list_jobs("f", status))
    assert [seen.target for seen in server.seen] == ["/v1/feeds/f/jobs?status=completed"] * 2


def test_a_listing_with_wrong_arguments_sends_nothing(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    for arguments in ({"limit": 0}, {"status": "finished"}):
        with pytest.raises(x.BankSyncConfigError):
            driver.run(config, listings.list_family_jobs(**arguments, internal=False))
    assert server.seen == []


@pytest.mark.parametrize("value", [None, "5", float("nan"), float("inf"), -1, True, [1]])
def test_an_invalid_duration_is_refused(value: Any) -> None:
    with pytest.raises(x.BankSyncConfigError, match="timeout must be a number of seconds"):
        validate_seconds("timeout", value)


def test_durations() -> None:
    assert validate_seconds("timeout", timedelta(minutes=2)) == 120.0
    assert validate_seconds("timeout", 0) == 0.0
