"""Feeds as code, and feeds deleted, against the sandbox."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.feeds import (
    BankSyncDeleteFeedOperator,
    BankSyncUpsertFeedOperator,
    _merged,
    differing,
)
from airflow_provider_banksync.sandbox import Fault
from tests.hooks.test_hook import family_feed, truth
from tests.tasks.conftest import Run, Said, run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

# Its clock keeps time: an answer that was lost is reconciled by it.
pytestmark = pytest.mark.banksync_sandbox(portals=3, job_seconds=(0.2, 0.4))

OURS = (
    "icon",
    "source",
    "dataType",
    "sourceConfig",
    "destinationConfig",
    "fieldMappings",
    "dataTypeOptions",
    "schedule",
)


def defined(sandbox: BankSyncSandbox) -> tuple[str, dict[str, Any]]:
    """A client's workspace, and a definition of a feed that can live there."""
    feed = family_feed(sandbox)
    return feed["workspaceId"], {name: feed[name] for name in OURS}


def upsert(**arguments: Any) -> BankSyncUpsertFeedOperator:
    return BankSyncUpsertFeedOperator(**{"task_id": "feed", "name": "As code", **arguments})


def writes(sandbox: BankSyncSandbox) -> list[str]:
    return [request.method for request in sandbox.requests if request.method != "GET"]


def named(sandbox: BankSyncSandbox, workspace_id: str, name: str = "As code") -> list[Any]:
    return [feed for feed in truth(sandbox, "/v1/feeds", workspace_id) if feed["name"] == name]


def deleted(sandbox: BankSyncSandbox) -> list[str]:
    return [request.path for request in sandbox.requests if request.method == "DELETE"]


def overtaken(sandbox: BankSyncSandbox, workspace_id: str, definition: dict[str, Any]) -> str:
    """Have somebody create the feed after the next task has looked for it, and before it creates its own."""
    stale = {"success": True, "data": truth(sandbox, "/v1/feeds", workspace_id)}
    twin = BankSyncHook(workspace_id=workspace_id).create_feed({"name": "As code", **definition})
    sandbox.clear_requests()
    answer = Fault.answer(200, json.dumps(stale, default=str), media_type="application/json")
    sandbox.faults.add(answer, method="GET", path="/v1/feeds", nth=1)
    return str(twin["id"])


def as_a_main_thread() -> None:
    """Airflow 2 has a note in the main thread of who may call an operator, and fails in others."""
    if AIRFLOW < (3,):
        import_module("airflow.models.baseoperator").ExecutorSafeguard._sentinel.callers = {}


# --- created, unchanged, updated ---


def test_from_nothing_to_as_defined(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    first = run_task(upsert(definition=definition, workspace_id=workspace_id))
    (feed,) = named(banksync_sandbox, workspace_id)
    assert first.result == {
        "feed_id": feed["id"],
        "action": "created",
        "changed": sorted(definition),
        "feed": feed,
    }
    assert first.xcom == {"feed_id": feed["id"]}

    banksync_sandbox.clear_requests()
    again = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert (again.result["action"], again.result["changed"]) == ("unchanged", [])
    assert again.result["feed"] == feed
    assert len(banksync_sandbox.requests) == 1
    assert writes(banksync_sandbox) == []


def test_only_what_differs_is_written(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    banksync_sandbox.clear_requests()
    changed = {**definition, "icon": "🦊", "schedule": {**definition["schedule"], "timeOfDay": "23:59"}}
    run = run_task(upsert(definition=changed, workspace_id=workspace_id))
    assert (run.result["action"], run.result["changed"]) == ("updated", ["icon", "schedule"])
    (feed,) = named(banksync_sandbox, workspace_id)
    assert run.result["feed"] == feed
    assert (feed["icon"], feed["schedule"]["timeOfDay"]) == ("🦊", "23:59")
    assert writes(banksync_sandbox) == ["PUT"]


def test_what_is_not_named_is_left_alone(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    few = {"dataType": definition["dataType"], "sourceConfig": definition["sourceConfig"]}
    assert run_task(upsert(definition=few, workspace_id=workspace_id)).result["action"] == "unchanged"
    run = run_task(upsert(definition={"icon": "🦊"}, workspace_id=workspace_id))
    (feed,) = named(banksync_sandbox, workspace_id)
    assert run.result["changed"] == ["icon"]
    assert {name: feed[name] for name in definition} == {**definition, "icon": "🦊"}


def test_what_others_set_inside_of_an_object_stays(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    schedule = {"enabled": True, "frequency": "daily", "timeOfDay": "05:00"}
    run_task(upsert(definition={**definition, "schedule": schedule}, workspace_id=workspace_id))
    run = run_task(upsert(definition={"schedule": {"enabled": False}}, workspace_id=workspace_id))
    assert (run.result["action"], run.result["changed"]) == ("updated", ["schedule"])
    (feed,) = named(banksync_sandbox, workspace_id)
    assert {name: feed["schedule"][name] for name in schedule} == {**schedule, "enabled": False}


def test_an_object_of_another_kind_is_replaced() -> None:
    have = {"type": "notion", "databaseId": "d", "options": {"a": 1, "b": 2}}
    assert _merged(have, {"type": "sheets", "sheetName": "s"}) == {"type": "sheets", "sheetName": "s"}
    assert _merged(have, {"options": {"b": 3}}) == {**have, "options": {"a": 1, "b": 3}}
    assert _merged([1, 2], [3]) == [3]


def test_other_workspaces_do_not_count(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    own = truth(banksync_sandbox, "/v1/feeds")[0]["name"]
    assert named(banksync_sandbox, workspace_id, own) == []
    run = run_task(upsert(name=own, definition=definition, workspace_id=workspace_id))
    assert run.result["action"] == "created"
    assert len(named(banksync_sandbox, workspace_id, own)) == 1


def test_the_definition_as_json(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    text = json.dumps({"name": "As code", **definition}, default=str)
    assert run_task(upsert(definition=text, workspace_id=workspace_id)).result["action"] == "created"
    (feed,) = named(banksync_sandbox, workspace_id)
    assert {name: feed[name] for name in definition} == definition


@pytest.mark.parametrize(
    ("fault", "when"),
    [(Fault.reset(), "after"), (Fault.status(502), "before"), (Fault.truncated(), "after")],
    ids=["reset", "502", "cut-answer"],
)
def test_one_feed_whatever_happens_to_its_request(
    banksync_sandbox: BankSyncSandbox, fault: Fault, when: str
) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    banksync_sandbox.faults.add(fault, method="POST", path="/v1/feeds", nth=1, when=when)
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert [feed["id"] for feed in named(banksync_sandbox, workspace_id)] == [run.result["feed_id"]]


def test_a_task_that_died_after_its_request_finds_the_feed(
    banksync_sandbox: BankSyncSandbox, mocker: Any
) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    task = upsert(definition=definition, workspace_id=workspace_id)
    client = task.hook.get_conn()
    real = client.run

    def and_die(*arguments: Any) -> None:
        real(*arguments)
        raise SystemExit

    mocker.patch.object(client, "run", and_die)
    with pytest.raises(SystemExit):
        run_task(task)
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert run.result["action"] == "unchanged"
    assert len(named(banksync_sandbox, workspace_id)) == 1


# --- what is refused ---


@pytest.mark.parametrize("field", ["source", "dataType"])
def test_what_cannot_be_changed(banksync_sandbox: BankSyncSandbox, field: str) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    other = {"source": "upload", "dataType": "balances"}[field]
    banksync_sandbox.clear_requests()
    with pytest.raises(AirflowFailException, match=f"{field} is '{definition[field]}', not '{other}'"):
        run_task(upsert(definition={**definition, field: other}, workspace_id=workspace_id))
    assert writes(banksync_sandbox) == []


def test_a_name_that_is_not_one_feed(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    hook = BankSyncHook(workspace_id=workspace_id)
    ids = [hook.create_feed({"name": "Twice", **definition})["id"] for _ in range(2)]
    with pytest.raises(AirflowFailException, match="2 feeds are named 'Twice'") as caught:
        run_task(upsert(name="Twice", definition=definition, workspace_id=workspace_id))
    assert all(feed_id in str(caught.value) for feed_id in ids)


def test_two_tasks_at_the_same_moment_make_one_feed(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.latency(1), method="POST", path="/v1/feeds")  # both have looked by then
    with ThreadPoolExecutor(initializer=as_a_main_thread) as pool:
        tasks = [upsert(definition=definition, workspace_id=workspace_id) for _ in range(3)]
        runs = list(pool.map(run_task, tasks))
    assert writes(banksync_sandbox).count("POST") == 3
    (feed,) = named(banksync_sandbox, workspace_id)
    assert {run.result["feed_id"] for run in runs} == {feed["id"]}
    assert sorted(run.result["action"] for run in runs) == ["created", "unchanged", "unchanged"]


def test_the_older_of_two_stays_and_becomes_as_defined(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    older = overtaken(banksync_sandbox, workspace_id, {**definition, "icon": "🐢"})
    run = run_task(upsert(definition={**definition, "icon": "🦊"}, workspace_id=workspace_id))
    assert (run.result["feed_id"], run.result["changed"]) == (older, ["icon"])
    (feed,) = named(banksync_sandbox, workspace_id)
    assert (feed["id"], feed["icon"]) == (older, "🦊")
    (path,) = deleted(banksync_sandbox)
    assert path != f"/v1/feeds/{older}"


def test_what_may_be_somebody_elses_is_not_deleted(banksync_sandbox: BankSyncSandbox) -> None:
    """The answer was lost: that the newer feed is ours is likely, and no more than that."""
    workspace_id, definition = defined(banksync_sandbox)
    older = overtaken(banksync_sandbox, workspace_id, definition)
    time.sleep(2.1)  # the server tells its time in whole seconds
    banksync_sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds", nth=1, when="after")
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert run.result["feed_id"] == older
    assert len(named(banksync_sandbox, workspace_id)) == 2
    assert deleted(banksync_sandbox) == []


def test_a_definition_that_the_vendor_refuses(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    wrong = {
        "source": definition["source"],
        "dataType": definition["dataType"],
        "destinationConfig": {"type": "notion", "integrationId": "nobody", "databaseId": "d"},
        "schedule": {"enabled": True, "frequency": "weekly", "timeOfDay": "05:00"},
    }
    with pytest.raises(AirflowFailException) as caught:
        run_task(upsert(definition=wrong, workspace_id=workspace_id))
    said = str(caught.value)
    assert "- destinationConfig.integrationId is not an integration of this workspace" in said
    _, _, warnings = said.partition("warnings, which do not block:")
    assert "- schedule.dayOfWeek is missing" in warnings
    assert named(banksync_sandbox, workspace_id) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": ""}, "name is ''"),
        ({"name": "None"}, "name is 'None'"),
        ({"definition": []}, "definition must be a dict"),
        ({"definition": "[1]"}, "definition must be a dict"),
        ({"definition": "{"}, "not JSON"),
        ({"definition": {"name": "B", "source": "sync"}}, "names the feed 'B', but name is 'As code'"),
        ({"definition": {"icon": "🦊"}}, "lacks source and dataType"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        run_task(upsert(**{"definition": {}, **arguments}))
    assert writes(banksync_sandbox) == []


def test_what_the_api_does_not_take_over_is_said(banksync_sandbox: BankSyncSandbox, said: Said) -> None:
    workspace_id, definition = defined(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    banksync_sandbox.faults.add(Fault.edited(icon="🐻"), method="PUT", path="/v1/feeds/*")
    run_task(upsert(definition={"icon": "🦊"}, workspace_id=workspace_id))
    assert 'did not take icon over as defined: it is "🐻", not "🦊"' in said()


# --- what is a difference ---


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, []),
        ({"a": {"x": 1, "added": True}}, {"a": {"x": 1}}, []),
        ({"a": {"x": 1}}, {"a": {"x": 2}}, ["a"]),
        ({"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}, ["a"]),
        ({"a": [{"x": 1, "added": 2}]}, {"a": [{"x": 1}]}, []),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": Decimal("0.1")}, {"a": 0.1}, []),
        ({"a": Decimal("1.0")}, {"a": 1}, []),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": 0}, {"a": False}, ["a"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
        ({}, {"a": None, "b": {}, "c": []}, []),
        ({"a": None}, {"a": "x"}, ["a"]),
        ({"a": "x"}, {"a": None}, ["a"]),
        ({"a": [1]}, {"a": []}, ["a"]),
    ],
)
def test_a_difference(have: dict[str, Any], want: dict[str, Any], expected: list[str]) -> None:
    assert differing(have, want) == expected


def test_the_order_of_accounts_is_none() -> None:
    def config(*ids: str) -> dict[str, Any]:
        return {"sourceConfig": {"accounts": [{"bankId": "b", "accountId": each} for each in ids]}}

    assert differing(config("1", "2", "2"), config("2", "1", "2")) == []
    assert differing(config("1", "2", "2"), config("1", "1", "2")) == ["sourceConfig"]


# --- delete ---


def delete(**arguments: Any) -> BankSyncDeleteFeedOperator:
    return BankSyncDeleteFeedOperator(**{"task_id": "delete", **arguments})


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_feed_is_deleted(banksync_sandbox: BankSyncSandbox, by: str) -> None:
    feed = family_feed(banksync_sandbox)
    run = run_task(delete(**{f"feed_{by}": feed[by]}, workspace_id=feed["workspaceId"]))
    assert run.result == {"feed_id": feed["id"], "deleted": True}
    assert feed["id"] not in {row["id"] for row in truth(banksync_sandbox, "/v1/feeds?scope=family")}


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_feed_that_there_is_not(banksync_sandbox: BankSyncSandbox, by: str) -> None:
    where = {f"feed_{by}": "no-such-feed"}
    result = run_task(delete(**where)).result
    assert result == {"feed_id": "no-such-feed" if by == "id" else None, "deleted": False}
    with pytest.raises(AirflowSkipException):
        run_task(delete(**where, if_missing="skip"))
    with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
        run_task(delete(**where, if_missing="fail"))


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("if_missing", ["succeed", "skip", "fail"])
@pytest.mark.parametrize("client", ["unknown", "deleted"])
def test_a_workspace_that_there_is_not_is_no_missing_feed(
    banksync_sandbox: BankSyncSandbox, by: str, if_missing: str, client: str
) -> None:
    feed = family_feed(banksync_sandbox)
    workspace_id = "no-such-client"
    if client == "deleted":
        workspace_id = feed["workspaceId"]
        banksync_sandbox.delete_portal(workspace_id)
    task = delete(**{f"feed_{by}": feed[by]}, workspace_id=workspace_id, if_missing=if_missing)
    with pytest.raises(AirflowFailException, match="Workspace not found"):
        run_task(task)


def test_a_missing_feed_takes_one_more_look(banksync_sandbox: BankSyncSandbox) -> None:
    run_task(delete(feed_id="no-such-feed"))
    asked = [(request.method, request.path) for request in banksync_sandbox.requests]
    assert asked == [("DELETE", "/v1/feeds/no-such-feed"), ("GET", "/v1/feeds")]


def test_a_delete_whose_answer_was_lost(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.reset(), method="DELETE", nth=1, when="after")
    run = run_task(delete(feed_id=feed["id"], workspace_id=feed["workspaceId"], if_missing="fail"))
    assert run.result == {"feed_id": feed["id"], "deleted": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either feed_id or feed_name"),
        ({"feed_id": "a", "feed_name": "b"}, "either feed_id or feed_name"),
        ({"feed_id": "a", "if_missing": "maybe"}, "if_missing must be one of"),
    ],
)
def test_a_dag_with_bad_arguments_does_not_parse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        delete(**arguments)


@pytest.mark.parametrize("bad", ["", "None", None])
def test_an_empty_id_deletes_nothing(banksync_sandbox: BankSyncSandbox, bad: Any) -> None:
    task = delete(feed_id="{{ x }}")
    task.feed_id = bad
    with pytest.raises(AirflowFailException, match="feed_id is"):
        run_task(task, Run())
    assert banksync_sandbox.requests == []
