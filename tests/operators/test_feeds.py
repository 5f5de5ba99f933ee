"""Operators that upsert and delete feeds, against the sandbox."""

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
)
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.tasks.feed_definition import changed_fields, merge
from tests.support.sandbox_data import family_feed, truth
from tests.support.task_runs import Logged, Run, run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

# The sandbox's clock runs. After a lost answer, it tells which feed is new.
pytestmark = pytest.mark.banksync_sandbox(portals=3, job_seconds=(0.2, 0.4))

DEFINITION_FIELDS = (
    "icon",
    "source",
    "dataType",
    "sourceConfig",
    "destinationConfig",
    "fieldMappings",
    "dataTypeOptions",
    "schedule",
)


def definition_for(sandbox: BankSyncSandbox) -> tuple[str, dict[str, Any]]:
    """Return a client's workspace, and a definition of a feed that the workspace accepts."""
    feed = family_feed(sandbox)
    return feed["workspaceId"], {name: feed[name] for name in DEFINITION_FIELDS}


def upsert(**arguments: Any) -> BankSyncUpsertFeedOperator:
    return BankSyncUpsertFeedOperator(**{"task_id": "feed", "name": "As code", **arguments})


def writes(sandbox: BankSyncSandbox) -> list[str]:
    return [request.method for request in sandbox.requests if request.method != "GET"]


def feeds_named(sandbox: BankSyncSandbox, workspace_id: str, name: str = "As code") -> list[Any]:
    return [feed for feed in truth(sandbox, "/v1/feeds", workspace_id) if feed["name"] == name]


def deleted_paths(sandbox: BankSyncSandbox) -> list[str]:
    return [request.path for request in sandbox.requests if request.method == "DELETE"]


def create_twin_after_listing(sandbox: BankSyncSandbox, workspace_id: str, definition: dict[str, Any]) -> str:
    """Create the feed after the next task has listed the feeds, and before it creates its own. Return the id."""
    stale = {"success": True, "data": truth(sandbox, "/v1/feeds", workspace_id)}
    twin = BankSyncHook(workspace_id=workspace_id).create_feed({"name": "As code", **definition})
    sandbox.clear_requests()
    answer = Fault.answer(200, json.dumps(stale, default=str), media_type="application/json")
    sandbox.faults.add(answer, method="GET", path="/v1/feeds", nth=1)
    return str(twin["id"])


def allow_execute_in_thread() -> None:
    """Let another thread execute an operator. Airflow 2 allows it only in the main thread."""
    if AIRFLOW < (3,):
        import_module("airflow.models.baseoperator").ExecutorSafeguard._sentinel.callers = {}


# --- created, unchanged, updated ---


def test_a_missing_feed_is_created_and_then_unchanged(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    first = run_task(upsert(definition=definition, workspace_id=workspace_id))
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
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


def test_only_changed_fields_are_written(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    banksync_sandbox.clear_requests()
    changed = {**definition, "icon": "🦊", "schedule": {**definition["schedule"], "timeOfDay": "23:59"}}
    run = run_task(upsert(definition=changed, workspace_id=workspace_id))
    assert (run.result["action"], run.result["changed"]) == ("updated", ["icon", "schedule"])
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert run.result["feed"] == feed
    assert (feed["icon"], feed["schedule"]["timeOfDay"]) == ("🦊", "23:59")
    assert writes(banksync_sandbox) == ["PUT"]


def test_fields_outside_the_definition_are_kept(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    few = {"dataType": definition["dataType"], "sourceConfig": definition["sourceConfig"]}
    assert run_task(upsert(definition=few, workspace_id=workspace_id)).result["action"] == "unchanged"
    run = run_task(upsert(definition={"icon": "🦊"}, workspace_id=workspace_id))
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert run.result["changed"] == ["icon"]
    assert {name: feed[name] for name in definition} == {**definition, "icon": "🦊"}


def test_other_keys_of_an_object_are_kept(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    schedule = {"enabled": True, "frequency": "daily", "timeOfDay": "05:00"}
    run_task(upsert(definition={**definition, "schedule": schedule}, workspace_id=workspace_id))
    run = run_task(upsert(definition={"schedule": {"enabled": False}}, workspace_id=workspace_id))
    assert (run.result["action"], run.result["changed"]) == ("updated", ["schedule"])
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert {name: feed["schedule"][name] for name in schedule} == {**schedule, "enabled": False}


def test_an_object_of_another_type_is_replaced() -> None:
    have = {"type": "notion", "databaseId": "d", "options": {"a": 1, "b": 2}}
    assert merge(have, {"type": "sheets", "sheetName": "s"}) == {"type": "sheets", "sheetName": "s"}
    assert merge(have, {"options": {"b": 3}}) == {**have, "options": {"a": 1, "b": 3}}
    assert merge([1, 2], [3]) == [3]


def test_a_feed_of_another_workspace_is_ignored(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    own = truth(banksync_sandbox, "/v1/feeds")[0]["name"]
    assert feeds_named(banksync_sandbox, workspace_id, own) == []
    run = run_task(upsert(name=own, definition=definition, workspace_id=workspace_id))
    assert run.result["action"] == "created"
    assert len(feeds_named(banksync_sandbox, workspace_id, own)) == 1


def test_a_definition_as_json(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    text = json.dumps({"name": "As code", **definition}, default=str)
    assert run_task(upsert(definition=text, workspace_id=workspace_id)).result["action"] == "created"
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert {name: feed[name] for name in definition} == definition


@pytest.mark.parametrize(
    ("fault", "when"),
    [(Fault.reset(), "after"), (Fault.status(502), "before"), (Fault.truncated(), "after")],
    ids=["reset", "502", "cut-answer"],
)
def test_a_request_that_fails_creates_one_feed(
    banksync_sandbox: BankSyncSandbox, fault: Fault, when: str
) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    banksync_sandbox.faults.add(fault, method="POST", path="/v1/feeds", nth=1, when=when)
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert [feed["id"] for feed in feeds_named(banksync_sandbox, workspace_id)] == [run.result["feed_id"]]


def test_a_retry_finds_the_feed_of_a_killed_task(banksync_sandbox: BankSyncSandbox, mocker: Any) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    task = upsert(definition=definition, workspace_id=workspace_id)
    client = task.hook.get_conn()
    real = client.run

    def run_and_die(*arguments: Any) -> None:
        real(*arguments)
        raise SystemExit

    mocker.patch.object(client, "run", run_and_die)
    with pytest.raises(SystemExit):
        run_task(task)
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert run.result["action"] == "unchanged"
    assert len(feeds_named(banksync_sandbox, workspace_id)) == 1


# --- errors ---


@pytest.mark.parametrize("field", ["source", "dataType"])
def test_source_and_data_type_cannot_be_changed(banksync_sandbox: BankSyncSandbox, field: str) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    other = {"source": "upload", "dataType": "balances"}[field]
    banksync_sandbox.clear_requests()
    with pytest.raises(AirflowFailException, match=f"{field} is '{definition[field]}', not '{other}'"):
        run_task(upsert(definition={**definition, field: other}, workspace_id=workspace_id))
    assert writes(banksync_sandbox) == []


def test_two_feeds_with_the_same_name_are_an_error(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    hook = BankSyncHook(workspace_id=workspace_id)
    ids = [hook.create_feed({"name": "Twice", **definition})["id"] for _ in range(2)]
    with pytest.raises(AirflowFailException, match="2 feeds are named 'Twice'") as caught:
        run_task(upsert(name="Twice", definition=definition, workspace_id=workspace_id))
    assert all(feed_id in str(caught.value) for feed_id in ids)


def test_concurrent_tasks_create_one_feed(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    # After this second, all tasks have listed the feeds.
    banksync_sandbox.faults.add(Fault.latency(1), method="POST", path="/v1/feeds")
    with ThreadPoolExecutor(initializer=allow_execute_in_thread) as pool:
        tasks = [upsert(definition=definition, workspace_id=workspace_id) for _ in range(3)]
        runs = list(pool.map(run_task, tasks))
    assert writes(banksync_sandbox).count("POST") == 3
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert {run.result["feed_id"] for run in runs} == {feed["id"]}
    assert sorted(run.result["action"] for run in runs) == ["created", "unchanged", "unchanged"]


def test_the_older_of_two_new_feeds_is_kept_and_updated(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    older = create_twin_after_listing(banksync_sandbox, workspace_id, {**definition, "icon": "🐢"})
    run = run_task(upsert(definition={**definition, "icon": "🦊"}, workspace_id=workspace_id))
    assert (run.result["feed_id"], run.result["changed"]) == (older, ["icon"])
    (feed,) = feeds_named(banksync_sandbox, workspace_id)
    assert (feed["id"], feed["icon"]) == (older, "🦊")
    (path,) = deleted_paths(banksync_sandbox)
    assert path != f"/v1/feeds/{older}"


def test_a_feed_that_someone_else_may_have_created_is_not_deleted(banksync_sandbox: BankSyncSandbox) -> None:
    """The answer was lost, so it is only likely that this task created the newer feed."""
    workspace_id, definition = definition_for(banksync_sandbox)
    older = create_twin_after_listing(banksync_sandbox, workspace_id, definition)
    time.sleep(2.1)  # the server's time has whole seconds
    banksync_sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds", nth=1, when="after")
    run = run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert run.result["feed_id"] == older
    assert len(feeds_named(banksync_sandbox, workspace_id)) == 2
    assert deleted_paths(banksync_sandbox) == []


def test_a_definition_that_the_api_refuses(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    wrong = {
        "source": definition["source"],
        "dataType": definition["dataType"],
        "destinationConfig": {"type": "notion", "integrationId": "nobody", "databaseId": "d"},
        "schedule": {"enabled": True, "frequency": "weekly", "timeOfDay": "05:00"},
    }
    with pytest.raises(AirflowFailException) as caught:
        run_task(upsert(definition=wrong, workspace_id=workspace_id))
    message = str(caught.value)
    assert "- destinationConfig.integrationId is not an integration of this workspace" in message
    _, _, warnings = message.partition("warnings, which do not block the request:")
    assert "- schedule.dayOfWeek is missing" in warnings
    assert feeds_named(banksync_sandbox, workspace_id) == []


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
def test_bad_arguments_fail_at_once(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        run_task(upsert(**{"definition": {}, **arguments}))
    assert writes(banksync_sandbox) == []


def test_a_field_that_the_api_ignores_is_logged(banksync_sandbox: BankSyncSandbox, logged: Logged) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    run_task(upsert(definition=definition, workspace_id=workspace_id))
    banksync_sandbox.faults.add(Fault.edited(icon="🐻"), method="PUT", path="/v1/feeds/*")
    run_task(upsert(definition={"icon": "🦊"}, workspace_id=workspace_id))
    assert 'did not store icon as defined: it is "🐻", not "🦊"' in logged()


# --- changed fields ---


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
        # The API leaves out flags that are false.
        ({"schedule": {"x": 1}}, {"schedule": {"x": 1, "enabled": False}}, []),
        ({"schedule": {"enabled": None}}, {"schedule": {"enabled": False}}, []),
        ({}, {"sourceConfig": {"whitelistEnabled": False}}, []),
        ({}, {"extractionConfig": {"itemizePerRow": False}}, []),
        ({"schedule": {"x": 1}}, {"schedule": {"x": 1, "enabled": True}}, ["schedule"]),
        ({"schedule": {"enabled": True}}, {"schedule": {"enabled": False}}, ["schedule"]),
        ({}, {"schedule": {"enabled": False, "frequency": "daily"}}, ["schedule"]),
        ({"a": {}}, {"a": {"enabled": False}}, ["a"]),
    ],
)
def test_changed_fields(have: dict[str, Any], want: dict[str, Any], expected: list[str]) -> None:
    assert changed_fields(have, want) == expected


def test_spaces_around_a_name_make_no_new_feed(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    runs = [
        run_task(upsert(name=name, definition={**definition, "name": name}, workspace_id=workspace_id))
        for name in ("Daily balances ", "Daily balances ", "\tDaily balances")
    ]
    assert [run.result["action"] for run in runs] == ["created", "unchanged", "unchanged"]
    (feed,) = feeds_named(banksync_sandbox, workspace_id, "Daily balances")
    deleted = run_task(delete(feed_name="Daily balances ", workspace_id=workspace_id)).result
    assert deleted == {"feed_id": feed["id"], "deleted": True}


def test_an_exact_name_comes_before_one_with_spaces(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    hook = BankSyncHook(workspace_id=workspace_id)
    ids = {name: hook.create_feed({"name": name, **definition})["id"] for name in ("Daily", "Daily ")}
    assert {name: hook.find_feed(name)["id"] for name in ids} == ids
    run = run_task(upsert(name="Daily ", definition=definition, workspace_id=workspace_id))
    assert run.result["feed_id"] == ids["Daily "]


def test_a_name_that_the_api_changes_is_an_error(banksync_sandbox: BankSyncSandbox) -> None:
    workspace_id, definition = definition_for(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.edited(name="as code"), method="POST", path="/v1/feeds")
    for _ in range(2):
        with pytest.raises(
            AirflowFailException, match="stored the name of the feed as 'as code', not 'As code'"
        ):
            run_task(upsert(definition=definition, workspace_id=workspace_id))
    assert feeds_named(banksync_sandbox, workspace_id) == []


def test_the_order_of_accounts_does_not_matter() -> None:
    def config(*ids: str) -> dict[str, Any]:
        return {"sourceConfig": {"accounts": [{"bankId": "b", "accountId": each} for each in ids]}}

    assert changed_fields(config("1", "2", "2"), config("2", "1", "2")) == []
    assert changed_fields(config("1", "2", "2"), config("1", "1", "2")) == ["sourceConfig"]


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
def test_a_missing_feed(banksync_sandbox: BankSyncSandbox, by: str) -> None:
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
def test_a_missing_workspace_is_not_a_missing_feed(
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


def test_a_missing_feed_costs_one_more_request(banksync_sandbox: BankSyncSandbox) -> None:
    run_task(delete(feed_id="no-such-feed"))
    sent = [(request.method, request.path) for request in banksync_sandbox.requests]
    assert sent == [("DELETE", "/v1/feeds/no-such-feed"), ("GET", "/v1/feeds")]


def test_a_delete_whose_answer_was_lost(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.reset(), method="DELETE", nth=1, when="after")
    run = run_task(delete(feed_id=feed["id"], workspace_id=feed["workspaceId"], if_missing="fail"))
    assert run.result == {"feed_id": feed["id"], "deleted": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither feed_id nor feed_name is given"),
        ({"feed_id": "a", "feed_name": "b"}, "feed_id and feed_name are both given"),
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
