"""Arguments that cannot be sent: refused before anything is, in a sentence that names them; nothing else comes out."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.api.checks import seconds
from airflow_provider_banksync.api.jobs import JobStatus
from tests.api.conftest import Face, ScriptedServer, ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.config import ClientConfig

HALF = "caf\ud83d"
ITSELF: dict[str, Any] = {}
ITSELF["it"] = ITSELF


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: endpoints.get_feed(HALF), "feed_id must be"),
        (lambda: endpoints.list_transactions("b", "a", cursor=HALF), "cursor must be"),
        (lambda: endpoints.list_transactions("b", "a", cursor=0), "cursor must be"),  # type: ignore[arg-type]
        (lambda: endpoints.create_feed({"name": HALF}), "body holds what JSON cannot"),
        (lambda: endpoints.create_feed(ITSELF), "holds itself"),
        (lambda: endpoints.create_feed({"n": float("nan")}), "the number nan"),
        (lambda: endpoints.create_feed({"n": [Decimal("Infinity")]}), "the number Infinity"),
        (lambda: endpoints.create_feed({"n": {"m": Decimal("sNaN")}}), "the number sNaN"),
        (lambda: endpoints.preview_enrichment("f", [{"n": float("inf")}]), "the number inf"),
        (lambda: endpoints.create_feed({"n": object()}), "body holds what JSON cannot"),
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


def test_a_status_is_sent_in_the_apis_word(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [ok([]), ok([])]
    for status in (JobStatus.COMPLETED, "completed"):
        face.run(config, endpoints.list_jobs("f", status))
    assert [seen.target for seen in server.seen] == ["/v1/feeds/f/jobs?status=completed"] * 2


def test_a_walk_is_refused_before_its_first_request(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    for arguments in ({"limit": 0}, {"status": "finished"}):
        with pytest.raises(x.BankSyncConfigError):
            face.run(config, conversations.list_family_jobs(**arguments, internal=False))
    assert server.seen == []


@pytest.mark.parametrize("value", [None, "5", float("nan"), float("inf"), -1, True, [1]])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(x.BankSyncConfigError, match="timeout must be a number of seconds"):
        seconds("timeout", value)


def test_times() -> None:
    assert seconds("timeout", timedelta(minutes=2)) == 120.0
    assert seconds("timeout", 0) == 0.0
