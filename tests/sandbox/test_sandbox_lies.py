"""Faults that change what a correct answer says: late, partial, wrong or endless answers."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
import requests

from airflow_provider_banksync.sandbox import Fault, SandboxError
from airflow_provider_banksync.sandbox.clock import parse_moment
from airflow_provider_banksync.sandbox.control import cli

NOT_FOUND = (404, "Job not found")


def test_a_new_job_appears_in_lists_late(world, refused):
    sandbox, client, feed = world
    before = client.data(f"{feed}/jobs?limit=5")
    sandbox.faults.add(Fault.lag(4), path="/v1/feeds/*/jobs**")
    job = client.post(f"{feed}/sync").json()["data"]
    assert client.data(f"{feed}/jobs?limit=6") == before
    assert refused(client.get(f"{feed}/jobs/{job['id']}")) == NOT_FOUND
    sandbox.clock.advance(4)
    assert client.data(f"{feed}/jobs")[0]["id"] == job["id"]
    assert client.data(f"{feed}/jobs/{job['id']}")["id"] == job["id"]


def test_a_lag_changes_no_answer_to_a_write(world):
    sandbox, client, feed = world
    sandbox.faults.add(Fault.lag(60))
    job = client.post(f"{feed}/sync").json()["data"]
    assert client.delete(f"{feed}/jobs/{job['id']}").json()["data"]["status"] == "cancelled"
    assert client.get(f"{feed}").status_code == 200


@pytest.mark.parametrize("seconds", [-3, 2.5])
def test_a_time_is_moved(world, seconds):
    sandbox, client, feed = world
    job = client.post(f"{feed}/sync").json()["data"]
    sandbox.faults.add(Fault.shifted(createdAt=seconds, errors=seconds), path="/v1/feeds/*/jobs**")
    (moved,) = [row for row in client.data(f"{feed}/jobs") if row["id"] == job["id"]]
    difference = parse_moment(moved["createdAt"]) - parse_moment(job["createdAt"])
    assert difference == timedelta(seconds=seconds)
    assert {**moved, "createdAt": job["createdAt"]} == job


def test_the_date_header_is_moved_or_left_out(world):
    sandbox, client, _ = world
    rule = sandbox.faults.add(Fault.date(-90))
    (date,) = client.get("/v1/whoami").raw.headers.getlist("Date")
    assert sandbox.clock.now() - parsedate_to_datetime(date) == timedelta(seconds=90)
    sandbox.faults.remove(rule)
    sandbox.faults.add(Fault.date(None))
    assert "Date" not in client.get("/v1/whoami").headers


def test_the_date_header_is_moved_in_the_answers_of_other_faults(world):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.status(502), times=1)
    sandbox.faults.add(Fault.status(502), when="after")
    sandbox.faults.add(Fault.date(None))
    for _ in range(2):
        response = client.get("/v1/whoami")
        assert (response.status_code, response.headers.get("Date")) == (502, None)
    assert sandbox.requests[-1].fault == "status after, date always"


def test_a_resource_is_not_found_for_some_time(world, refused):
    sandbox, client, feed = world
    rule = sandbox.faults.add(Fault.status(404, message="Feed not found"), path=feed, seconds=30)
    assert refused(client.get(feed)) == (404, "Feed not found")
    sandbox.clock.advance(30)
    assert client.get(feed).status_code == 200
    assert (rule.calls, rule.hits) == (1, 1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1"])
def test_the_seconds_of_a_rule_are_checked(family, seconds):
    with pytest.raises(SandboxError, match="seconds must be"):
        family.faults.add(Fault.reset(), seconds=seconds)
    assert family.faults.rules == []


def test_a_share_of_the_rows_is_the_same_in_each_read(world):
    sandbox, client, _ = world
    rows = client.data("/v1/feeds?scope=family")
    sandbox.faults.add(Fault.edited(share=0.4, name="X"), path="/v1/feeds")
    first, second = (client.data("/v1/feeds?scope=family") for _ in range(2))
    assert first == second
    changed = [row for row in first if row["name"] == "X"]
    assert 0 < len(changed) < len(rows)
    assert [row for row in first if row["name"] != "X"] == [
        row for row, now in zip(rows, first, strict=True) if now["name"] != "X"
    ]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"fault": "lag", "with": {"seconds": -1}}, "seconds must be between 0"),
        ({"fault": "lag", "with": {"seconds": 5}, "when": "before"}, 'lag can only happen when="after"'),
        ({"fault": "lag", "with": {}}, "seconds"),
        ({"fault": "shifted", "with": {}}, "shifted needs a field"),
        ({"fault": "shifted", "with": {"createdAt": "-3"}}, "createdAt must be a number"),
        ({"fault": "shifted", "with": {"createdAt": 1e12}}, "createdAt must be between"),
        ({"fault": "shifted", "with": {"createdAt": 1, "share": 2}}, "share must be between 0 and 1"),
        ({"fault": "edited", "with": {"name": "X", "share": True}}, "share must be a number"),
        ({"fault": "date", "with": {"seconds": "5"}}, "seconds must be a number"),
        ({"fault": "date", "with": {"seconds": 5}, "when": "after"}, 'date can only happen when="always"'),
        ({"fault": "reset", "when": "always"}, 'when must be "before" or "after"'),
        ({"fault": "reset", "seconds": -5}, "seconds must be between 0"),
    ],
    ids=str,
)
def test_a_fault_that_makes_no_sense_is_400(family, body, complaint):
    response = requests.post(f"{family.url}/_sandbox/faults", json=body, timeout=300)
    assert (response.status_code, complaint in response.json()["error"]) == (400, True), response.text
    assert family.faults.rules == []


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "lag", "with": {"seconds": 0.5}, "path": "/v1/feeds/*/jobs"},
        {"fault": "shifted", "with": {"createdAt": -1.5, "share": 0.5}},
        {"fault": "date", "with": {"seconds": None}, "seconds": 2.5},
        {"fault": "edited", "with": {"amount": 12.50, "share": 0.5}},
    ],
    ids=lambda body: body["fault"],
)
def test_a_fault_is_added_over_http(world, body):
    sandbox, client, _ = world
    response = requests.post(f"{sandbox.url}/_sandbox/faults", json=body, timeout=300)
    assert (response.status_code, response.json()["fault"]["fault"]) == (200, body["fault"])
    assert client.get("/v1/feeds").status_code == 200
    assert sandbox.faults.rules[0].hits == (body.get("path") is None)


def test_the_command_takes_faults(monkeypatch):
    served = []
    monkeypatch.setattr(cli, "_serve", served.append)
    lag = '{"fault": "lag", "with": {"seconds": 4.5}, "path": "/v1/feeds/*/jobs"}'
    assert cli.main(["--portals", "1", "--fault", lag, "--fault", '{"fault": "reset", "nth": 2}']) == 0
    first, second = served[0].faults.rules
    assert (first.fault.name, first.path, second.fault.name, second.nth) == (
        "lag",
        "/v1/feeds/*/jobs",
        "reset",
        2,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("reset", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"fault": "explosion"}', "fault must be one of added"),
        ('{"fault": "lag"}', "seconds"),
        ('{"fault": "reset", "whom": 1}', "Unknown field: 'whom'"),
        ('{"fault": "latency", "with": {"seconds": 1e400}}', "seconds must be"),
    ],
)
def test_the_command_refuses_a_fault_that_makes_no_sense(capsys, text, complaint):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--portals", "1", "--fault", text])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith(f"sandbox: --fault {text}: ")
    assert complaint in said
