"""A permanent error of the hook is final for Airflow. Other errors are not."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.hooks.final_errors import make_final
from airflow_provider_banksync.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)

PERMANENT: dict[str, tuple[type[x.BankSyncError], Callable[[BankSyncHook], Any]]] = {
    "an-id-that-does-not-exist": (x.BankSyncNotFoundError, lambda hook: hook.get_feed("nope")),
    "a-name-that-does-not-exist": (x.BankSyncNotFoundError, lambda hook: hook.find_feed("nope")),
    "an-argument": (x.BankSyncConfigError, lambda hook: hook.list_banks("famly")),
    "an-argument-of-a-generator": (
        x.BankSyncConfigError,
        lambda hook: list(hook.iter_transactions("b", "a", from_date="yesterday")),
    ),
    "a-workspace": (x.BankSyncConfigError, lambda hook: BankSyncHook(workspace_id="")),
    "a-connection": (x.BankSyncConfigError, lambda hook: BankSyncHook("no_such_connection").whoami()),
    "a-connection-on-an-event-loop": (
        x.BankSyncConfigError,
        lambda hook: asyncio.run(BankSyncHook("no_such_connection").get_async_conn()),
    ),
}


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("case", PERMANENT)
def test_a_permanent_error_is_final(banksync_sandbox: BankSyncSandbox, case: str) -> None:
    kind, call = PERMANENT[case]
    with pytest.raises(AirflowFailException) as caught:
        call(BankSyncHook())
    error = caught.value
    assert isinstance(error, kind)
    assert error.permanent
    assert type(error).__name__ == kind.__name__
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def test_a_temporary_error_is_not(banksync_sandbox: BankSyncSandbox) -> None:
    banksync_sandbox.faults.add(Fault.status(500), method="POST")
    with pytest.raises(x.BankSyncServerError) as caught:
        BankSyncHook().trigger_learn(BankSyncHook().list_feeds()[0]["id"])
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    "kind", [x.BankSyncValidationError, x.BankSyncCertificateError, x.BankSyncConfigError]
)
def test_the_error_keeps_what_it_has(kind: type[x.BankSyncError]) -> None:
    error = kind("wrong", method="GET", path="/v1/feeds", hint="Correct it.")
    text, fields = str(error), dict(vars(error))
    make_final(error)
    make_final(error)
    assert (str(error), vars(error)) == (text, fields)
    assert type(error).__mro__.count(AirflowFailException) == 1


def test_signatures_and_docs_stay() -> None:
    assert list(inspect.signature(BankSyncHook.get_feed).parameters) == ["self", "feed_id", "workspace_id"]
    assert BankSyncHook.get_feed.__doc__
    assert inspect.isgeneratorfunction(BankSyncHook.iter_transactions)
    assert inspect.iscoroutinefunction(BankSyncHook.get_async_conn)
