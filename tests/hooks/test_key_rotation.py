"""A key that is replaced while the hook works: the connection is read again, once a minute at most."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.hooks.key_renewal import READ_INTERVAL, KeyRenewal
from tests.support.key_rotation import Rotation
from tests.support.manual_clock import ManualClock
from tests.support.sandbox_data import family_feed

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
OLD = ClientConfig(secret="bsk_old")


@pytest.fixture
def rotation(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> Rotation:
    return Rotation(banksync_sandbox, monkeypatch)


@pytest.fixture
def reads(mocker: Any) -> Callable[[], int]:
    """How often a connection was read."""
    spy = mocker.spy(BankSyncHook, "_config")
    return lambda: spy.call_count


# --- the hook, over HTTP ---


def test_a_wait_goes_on_with_the_new_key(rotation: Rotation, banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    rotation.after(1)  # the answer to the sync, so every poll comes later, however fast the job is
    job = hook.trigger_sync(feed["id"])
    assert hook.wait_for_job(feed["id"], job["id"], timeout=30, poll_interval=0.01)["status"] == "completed"
    assert rotation.refused == 1


def test_a_post_with_the_old_key_did_nothing_and_is_sent_again(
    rotation: Rotation, banksync_sandbox: BankSyncSandbox
) -> None:
    feed = family_feed(banksync_sandbox)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    hook.get_conn()
    jobs = len(banksync_sandbox.jobs)
    rotation.rotate()
    hook.trigger_sync(feed["id"])
    assert len(banksync_sandbox.jobs) == jobs + 1


def test_all_requests_in_flight_share_one_read(rotation: Rotation, reads: Callable[[], int]) -> None:
    async def main() -> None:
        async with await BankSyncHook().get_async_conn() as client:
            rotation.rotate()
            await asyncio.gather(*(client.send(endpoints.whoami()) for _ in range(8)))

    asyncio.run(main())
    assert reads() == 2, "at first, and after the first 401"


def test_threads_share_one_read(rotation: Rotation, reads: Callable[[], int]) -> None:
    hook = BankSyncHook()
    hook.get_conn()
    rotation.rotate()
    threads = [threading.Thread(target=hook.whoami) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rotation.refused <= 8
    assert hook.whoami()
    assert reads() == 2


def test_a_second_client_of_the_hook_needs_no_read(rotation: Rotation, reads: Callable[[], int]) -> None:
    hook = BankSyncHook()
    before = hook.get_conn().config
    rotation.rotate()
    hook.whoami()

    async def main() -> None:
        from airflow_provider_banksync.api.http.async_client import AsyncClient

        async with AsyncClient(before.for_cancel()) as client:
            await client.send(endpoints.whoami())

    asyncio.run(main())
    assert reads() == 2


def test_an_unchanged_key_fails_at_once_after_one_read(
    rotation: Rotation, reads: Callable[[], int], banksync_sandbox: BankSyncSandbox
) -> None:
    hook = BankSyncHook()
    hook.get_conn()
    rotation.rotate(replace=False)
    for _ in range(2):
        with pytest.raises(x.BankSyncAuthError, match="revoked"):
            hook.whoami()
    assert reads() == 2
    assert len(banksync_sandbox.requests) == 2


def test_airflow_masks_the_new_key_before_it_is_sent(
    rotation: Rotation, banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = BankSyncHook()
    hook.get_conn()
    rotation.rotate(replace=False)
    rotation.connect(f" {rotation.new_key} ")  # with spaces, Airflow itself would mask the wrong text
    masked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "airflow_provider_banksync.hooks.banksync.mask_secret",
        lambda secret: masked.append((secret, len(banksync_sandbox.requests))),
    )
    hook.whoami()
    assert masked == [(rotation.new_key, 1)], "after the 401, and before the next request"


# --- which key a client gets ---


def renewal(*read: Any) -> tuple[KeyRenewal, ManualClock]:
    """A renewal that reads these settings or errors, one after the other."""
    answers, clock = list(read), ManualClock()

    def next_answer() -> ClientConfig:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def next_answer_async() -> ClientConfig:
        return next_answer()

    return KeyRenewal("c", next_answer, next_answer_async, clock=clock), clock


def renewed(of: KeyRenewal, refused: ClientConfig, how: str) -> str | None:
    config = of.renew(refused) if how == "blocking" else asyncio.run(of.renew_async(refused))  # type: ignore[arg-type]
    return config and config.secret


HOW = pytest.mark.parametrize("how", ["blocking", "on a loop"])


@HOW
def test_it_reads_once_a_minute(how: str) -> None:
    of, clock = renewal(OLD, ClientConfig(secret="bsk_2"), ClientConfig(secret="bsk_3"))
    assert renewed(of, OLD, how) is None
    clock.now += READ_INTERVAL - 1
    assert renewed(of, OLD, how) is None
    clock.now += 1
    assert renewed(of, OLD, how) == "bsk_2"
    assert renewed(of, ClientConfig(secret="bsk_2"), how) is None
    clock.now += READ_INTERVAL
    assert renewed(of, OLD, how) == "bsk_2", "there is one that was not refused yet"
    assert renewed(of, ClientConfig(secret="bsk_2"), how) == "bsk_3"


@HOW
@pytest.mark.parametrize(
    "moved",
    [
        {"base_url": "https://elsewhere.example"},
        {"bearer": True, "workspace_id": "w1"},
        {"workspace_id": "w2"},
    ],
)
def test_a_key_for_another_place_is_not_used(how: str, moved: dict[str, Any]) -> None:
    of, _ = renewal(ClientConfig(secret="bsk_new", **moved))
    assert renewed(of, ClientConfig(secret="bsk_old", workspace_id="w1"), how) is None


@HOW
def test_a_connection_that_cannot_be_read_leaves_the_401(how: str, caplog: pytest.LogCaptureFixture) -> None:
    of, _ = renewal(RuntimeError("the database has gone, its password is hunter2"))
    assert renewed(of, OLD, how) is None
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def test_other_settings_of_the_client_stay() -> None:
    of, _ = renewal(ClientConfig(secret="bsk_new"))
    quick = OLD.for_cancel(timeout=5.0, max_retries=0)
    config = of.renew(quick)
    assert config is not None
    assert (config.secret, config.timeout, config.rate_limited) == ("bsk_new", 5.0, False)
