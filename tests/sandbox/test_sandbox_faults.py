"""Every fault as a client sees it, and the rules that select requests."""

from __future__ import annotations

import gzip
import json
import threading
import time
from dataclasses import replace
from decimal import Decimal
from email.utils import parsedate_to_datetime

import pytest
import requests
import urllib3

from airflow_provider_banksync.sandbox import Fault, SandboxError

SYNC = "/v1/feeds/*/sync"


@pytest.mark.parametrize("code", [400, 429, 500, 502, 503, 504, 520, 522, 524, 526])
@pytest.mark.parametrize(
    ("body", "media_type"),
    [("json", "application/json"), ("html", "text/html; charset=UTF-8"), ("empty", None)],
)
def test_a_status_with_a_body_of_each_kind(world, code, body, media_type):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.status(code, body=body))
    response = client.get("/v1/whoami")
    assert (response.status_code, response.headers.get("Content-Type")) == (code, media_type)
    assert "Retry-After" not in response.headers
    if body == "json":
        assert response.json()["success"] is False
    else:
        assert (str(code) in response.text) == (body == "html")
        assert bool(response.content) == (body == "html")


def test_a_429_has_retry_after_in_either_form_or_not_at_all(world):
    sandbox, client, _ = world
    for form in ("seconds", "date"):
        sandbox.faults.add(Fault.rate_limited(90, form=form), times=1)
    sandbox.faults.add(Fault.rate_limited(None))
    first, second, third = (client.get("/v1/whoami") for _ in range(3))
    assert {first.status_code, second.status_code, third.status_code} == {429}
    assert first.headers["Retry-After"] == "90"
    assert (parsedate_to_datetime(second.headers["Retry-After"]) - sandbox.clock.now()).total_seconds() == 90
    assert "Retry-After" not in third.headers


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    "fault", [Fault.reset(), Fault.status(502), Fault.not_success()], ids=lambda f: f.name
)
def test_a_fault_happens_before_or_after_the_job_is_created(world, fault, when, jobs):
    sandbox, client, feed = world
    sandbox.faults.add(fault, method="POST", path=SYNC, nth=1, when=when)
    if fault.name == "reset":
        with pytest.raises(requests.ConnectionError):
            client.post(f"{feed}/sync")
    else:
        assert client.post(f"{feed}/sync").json()["success"] is False
    assert len(sandbox.jobs) == jobs
    assert client.get(feed).status_code == 200
    assert [record.fault for record in sandbox.requests] == [f"{fault.name} {when}", None]


def test_a_reset_connection_is_reset_and_not_closed(world):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.reset())
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.get("/v1/whoami")
    assert sandbox.requests[-1].status == 0


def test_latency_delays_and_changes_nothing_else(world):
    sandbox, client, _ = world
    expected = client.get("/v1/whoami").content
    for when in ("before", "after"):
        sandbox.faults.clear()
        sandbox.faults.add(Fault.latency(0.05), when=when)
        began = time.monotonic()
        assert client.get("/v1/whoami").content == expected
        assert time.monotonic() - began >= 0.05


def test_a_slow_answer_does_not_delay_others(world, client_of):
    sandbox, client, _ = world
    rule = sandbox.faults.add(Fault.latency(600), path="/v1/banks")
    stuck = threading.Thread(target=client.get, args=["/v1/banks"])
    stuck.start()
    while not rule.hits:
        time.sleep(0.001)
    assert client_of(sandbox).get("/v1/whoami").status_code == 200
    began = time.monotonic()
    sandbox.stop()
    stuck.join(300)
    assert time.monotonic() - began < 300


def test_silence_lasts_until_the_client_gives_up(world):
    sandbox, client, feed = world
    sandbox.faults.add(Fault.silence(), path=SYNC, when="after")
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{sandbox.url}{feed}/sync",
            headers={"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"},
            timeout=0.05,
        )
    assert len(sandbox.jobs) == 1
    assert client.get("/v1/whoami").status_code == 200


def test_silence_ends_when_the_sandbox_stops(world, caplog):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.silence())
    caught = []

    def ask():
        try:
            client.get("/v1/whoami")
        except requests.ConnectionError as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not sandbox.requests:
        time.sleep(0.001)
    began = time.monotonic()
    sandbox.stop()
    asking.join(300)
    assert len(caught) == 1
    assert time.monotonic() - began < 300
    assert caplog.records == []


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_body_ends_too_early(world, part):
    sandbox, client, _ = world
    whole = client.get("/v1/feeds")
    sandbox.faults.add(Fault.truncated(part))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        client.get("/v1/feeds")
    response = client.get("/v1/feeds", stream=True)
    assert response.headers["Content-Length"] == str(len(whole.content))
    got = response.raw.read(int(len(whole.content) * part))
    assert whole.content.startswith(got)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        response.raw.read()


def test_a_dripping_body_is_slow_and_complete(world):
    sandbox, client, _ = world
    whole = client.get("/v1/feeds").content
    sandbox.faults.add(Fault.dripping(0.08))
    began = time.monotonic()
    assert client.get("/v1/feeds").content == whole
    assert time.monotonic() - began >= 0.08


@pytest.mark.parametrize("size", [1, 16, 39])
def test_a_dripping_body_takes_its_time_whatever_its_size(world, size):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.dripping(0.4))
    sandbox.faults.add(Fault("sized", reshape=lambda response: replace(response, body=b"x" * size)))
    took = []
    while not took or (took[-1] >= 0.7 and len(took) < 20):  # a busy machine takes longer now and then
        began = time.monotonic()
        assert len(client.get("/v1/feeds").content) == size
        took.append(time.monotonic() - began)
    assert 0.4 <= min(took) < 0.7


def test_a_wrong_content_type_goes_with_the_true_body(world):
    sandbox, client, _ = world
    true = client.get("/v1/feeds")
    sandbox.faults.add(Fault.content_type("text/html"), nth=1)
    sandbox.faults.add(Fault.content_type(None), nth=2)
    wrong, none = client.get("/v1/feeds"), client.get("/v1/feeds")
    assert (wrong.status_code, wrong.headers["Content-Type"], wrong.content) == (
        200,
        "text/html",
        true.content,
    )
    assert "Content-Type" not in none.headers


def test_gzip_is_the_same_answer(world):
    sandbox, client, _ = world
    true = client.get("/v1/feeds").content
    sandbox.faults.add(Fault.gzip())
    response = client.get("/v1/feeds", stream=True)
    assert response.headers["Content-Encoding"] == "gzip"
    packed = response.raw.read(decode_content=False)
    assert gzip.decompress(packed) == true
    assert int(response.headers["Content-Length"]) == len(packed) < len(true)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_another_origin(world, status):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.redirect("https://elsewhere.example/v1/feeds", status=status))
    response = client.get("/v1/feeds", allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (
        status,
        "https://elsewhere.example/v1/feeds",
    )


def test_a_200_can_say_that_it_failed(world, refused):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.not_success("The bank is thinking"))
    assert refused(client.get("/v1/feeds")) == (200, "The bank is thinking")


def test_fields_can_be_put_into_the_true_answer(world):
    sandbox, client, feed = world
    job = client.post(f"{feed}/sync").json()["data"]
    sandbox.faults.add(Fault.edited(status="paused", progress=Decimal("1E-8")))
    assert client.data(f"{feed}/jobs/{job['id']}") == {**job, "status": "paused", "progress": Decimal("1E-8")}
    assert {row["status"] for row in client.data(f"{feed}/jobs")} == {"paused"}
    assert client.get("/v1/nowhere").json() == {"success": False, "error": "Not found"}


@pytest.mark.parametrize("first", [Fault.gzip(), Fault.content_type("text/html")], ids=lambda f: f.name)
def test_an_edit_works_after_another_fault(world, first):
    sandbox, client, _ = world
    sandbox.faults.add(first)
    sandbox.faults.add(Fault.edited(workspaceName="B"))
    sandbox.faults.add(Fault.gzip(), nth=2)
    for _ in range(2):
        response = client.get("/v1/whoami")
        assert (response.status_code, response.json()["data"]["workspaceName"]) == (200, "B")


def test_only_a_503_of_the_service_has_retry_after(world, refused):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.status(503, retry_after=7))
    response = client.get("/v1/banks")
    assert (refused(response)[0], response.headers["Retry-After"]) == (503, "7")


def test_a_header_replaces_the_default_one_in_any_case(world):
    sandbox, client, _ = world
    sandbox.faults.add(Fault.answer(200, "x", headers={"content-TYPE": "text/x"}))
    assert client.get("/v1/feeds").headers["Content-Type"] == "text/x"


def test_any_other_answer_can_be_given(world):
    sandbox, client, _ = world
    sandbox.faults.add(
        Fault.answer(418, "short and stout", media_type="text/plain", headers={"X-Pot": "tea"})
    )
    response = client.get("/v1/feeds")
    assert (response.status_code, response.text, response.headers["X-Pot"]) == (418, "short and stout", "tea")


def statuses(client, calls):
    return [client.send(*call).status_code for call in calls]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, [500, 500, 500, 500]),
        ({"method": "GET"}, [500, 500, 405, 500]),
        ({"path": "/v1/banks"}, [200, 500, 200, 200]),
        ({"path": "/v1/*"}, [500, 500, 500, 200]),
        ({"path": "/v1/**"}, [500, 500, 500, 500]),
        ({"path": "/v1/f*/{feed}"}, [200, 200, 405, 500]),
        ({"path": "/v1/b.nks"}, [200, 200, 405, 200]),
        ({"nth": 2}, [200, 500, 405, 200]),
        ({"times": 2}, [500, 500, 405, 200]),
        ({"times": 1, "path": "/v1/banks"}, [200, 500, 405, 200]),
    ],
    ids=str,
)
def test_a_rule_selects_requests(world, rule, expected):
    sandbox, client, feed = world
    path = rule.get("path", "/**").replace("{feed}", feed.rpartition("/")[2])
    expected = [405 if (index, code) == (2, 200) else code for index, code in enumerate(expected)]
    sandbox.faults.add(Fault.status(500), **{**rule, "path": path})
    calls = [("GET", "/v1/whoami"), ("GET", "/v1/banks"), ("DELETE", "/v1/feeds"), ("GET", feed)]
    assert statuses(client, calls) == expected


def test_a_rule_can_be_for_one_workspace(world):
    sandbox, client, _ = world
    portal = sandbox.portals[1][0]
    sandbox.faults.add(Fault.status(500), workspace_id=portal)
    assert [client.get("/v1/banks", workspace=each[0]).status_code for each in sandbox.portals] == [
        200,
        500,
        200,
    ]
    assert client.get("/v1/banks").status_code == 200


def test_a_probability_selects_the_same_requests_in_every_run(fresh, client_of):
    seen = []
    for seed in (1, 1, 2):
        sandbox = fresh(portals=0)
        rule = sandbox.faults.add(Fault.status(500), probability=0.4, seed=seed)
        client = client_of(sandbox)
        seen.append(statuses(client, [("GET", "/v1/whoami")] * 50))
        assert (rule.calls, rule.hits) == (50, seen[-1].count(500))
        assert 8 < rule.hits < 32
    assert seen[0] == seen[1] != seen[2]


def test_several_rules_apply_and_can_be_removed(world):
    sandbox, client, _ = world
    slow = sandbox.faults.add(Fault.latency(0.02))
    broken = sandbox.faults.add(Fault.status(500))
    sandbox.faults.add(Fault.status(502))
    began = time.monotonic()
    assert client.get("/v1/whoami").status_code == 500
    assert time.monotonic() - began >= 0.02
    assert sandbox.requests[-1].fault == "latency before, status before"
    sandbox.faults.remove(broken)
    assert client.get("/v1/whoami").status_code == 502
    assert slow.hits == 2
    sandbox.faults.clear()
    assert (client.get("/v1/whoami").status_code, sandbox.faults.rules) == (200, [])


def test_faults_apply_before_the_edge_and_without_a_key(world, client_of):
    sandbox, _, _ = world
    sandbox.faults.add(Fault.status(503, body="html"))
    assert client_of(sandbox, None).get("/v1/banks", headers={"User-Agent": "curl/8"}).status_code == 503


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Fault.status(200), "code must be between 400 and 599"),
        (lambda: Fault.status(500, body="xml"), "body must be one of json, html, empty"),
        (lambda: Fault.latency(-1), "seconds must be"),
        (lambda: Fault.latency(float("nan")), "seconds must be"),
        (lambda: Fault.dripping(1e9), "seconds must be"),
        (lambda: Fault.rate_limited(-1), "retry_after must be"),
        (lambda: Fault.rate_limited(1, form="minutes"), 'form must be "seconds" or "date"'),
        (lambda: Fault.truncated(1), "part must be"),
        (lambda: Fault.redirect("https://x.example", status=200), "status must be one of 301"),
        (lambda: Fault.edited(amount=0.1), "use Decimal"),
        (lambda: Fault.answer(99), "status must be between"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(make, complaint):
    with pytest.raises(SandboxError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"method": "FETCH"}, "method must be one of"),
        ({"path": "v1/feeds"}, "path must begin with /"),
        ({"nth": 0}, "nth must be between 1 and"),
        ({"times": 0}, "times must be between 1 and"),
        ({"probability": 1.5}, "probability must be between 0 and 1"),
        ({"when": "during"}, 'when must be "before" or "after"'),
        ({"fault": Fault.gzip(), "when": "before"}, 'gzip can only happen when="after"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_rule_that_makes_no_sense_is_refused(family, rule, complaint):
    with pytest.raises(SandboxError, match=complaint):
        family.faults.add(rule.pop("fault", Fault.status(500)), **rule)
    assert family.faults.rules == []


def test_a_fault_does_not_change_later_answers(fresh, client_of):
    answers = []
    for faulty in (False, True):
        sandbox = fresh()
        client = client_of(sandbox)
        feed = client.data("/v1/feeds")[0]["id"]
        if faulty:
            sandbox.faults.add(Fault.reset(), method="POST", nth=1, when="before")
            with pytest.raises(requests.ConnectionError):
                client.post(f"/v1/feeds/{feed}/sync")
        answers.append(client.post(f"/v1/feeds/{feed}/sync").content)
    assert answers[0] == answers[1]
    assert json.loads(answers[0])["success"] is True
