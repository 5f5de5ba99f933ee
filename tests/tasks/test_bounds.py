"""What goes into Airflow's database is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_banksync.tasks.base import bound_errors
from airflow_provider_banksync.tasks.unavailable import bound_unavailable


def results(count: int, error: str | None) -> dict[str, dict[str, Any]]:
    row = {
        "workspace_id": "w" * 20,
        "portal": "P" * 5000,
        "job_id": "j" * 20,
        "status": "failed",
        "written": 7,
    }
    return {f"feed-{number:015}": {**row, "error": error} for number in range(count)}


@pytest.mark.parametrize("count", [1000, 2000])
def test_a_family_result_with_long_errors_fits_into_an_xcom(count: int) -> None:
    bounded = bound_errors(results(count, "e" * 5000))
    assert len(bounded) == count
    assert len(json.dumps(bounded)) < (count // 1000) * 2**20
    assert {len(row["error"]) for row in bounded.values()} == {256 * 1024 // count}


def test_a_few_errors_are_whole() -> None:
    rows = results(1000, None)
    rows["feed-000000000000003"]["error"] = "e" * 5000
    assert bound_errors(rows)["feed-000000000000003"]["error"] == "e" * 5000


@pytest.mark.parametrize("count", [0, 3, 100, 3010])
def test_the_first_hundred_are_listed_and_all_are_counted(count: int) -> None:
    reasons = ("sign_in", "failed")
    entries = [{"id": n, "reason": reasons[n % 2], "message": "m" * 5000} for n in range(count)]
    bounded = bound_unavailable(entries)
    assert [entry["id"] for entry in bounded["unavailable"]] == list(range(min(count, 100)))
    assert all(len(entry["message"]) == 300 for entry in bounded["unavailable"])
    assert bounded["unavailable_count"] == sum(bounded["unavailable_reasons"].values()) == count
    assert len(json.dumps(bounded)) < 50_000
