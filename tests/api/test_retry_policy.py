"""Which errors are retried, and the backoff."""

from __future__ import annotations

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints, retry_policy

READ = endpoints.list_feeds().request
WRITE = endpoints.trigger_sync("f").request
CANCEL = endpoints.cancel_job("f", "j").request


@pytest.mark.parametrize(
    ("error", "read", "write"),
    [
        (x.BankSyncRateLimitError(), True, True),
        (x.BankSyncRateLimitError(retry_after=300.0), True, True),
        (x.BankSyncRateLimitError(retry_after=43_200.0), False, False),
        (x.BankSyncServerError(retry_after=43_200.0), False, False),
        (x.BankSyncServerError(), True, True),
        (x.BankSyncServerError(ambiguous=True), True, False),
        (x.BankSyncConnectionError(), True, True),
        (x.BankSyncConnectionError(ambiguous=True), True, False),
        (x.BankSyncResponseError(truncated=True), True, True),
        (x.BankSyncResponseError(truncated=True, ambiguous=True), True, False),
        (x.BankSyncResponseError(), False, False),
        (x.BankSyncAuthError(), False, False),
        (x.BankSyncPermissionError(), False, False),
        (x.BankSyncEdgeBlockedError(), False, False),
        (x.BankSyncNotFoundError(), False, False),
        (x.BankSyncConflictError(), False, False),
        (x.BankSyncValidationError(), False, False),
        (x.BankSyncReauthRequiredError(), False, False),
        (x.BankSyncConfigError(), False, False),
        (ValueError(), False, False),
    ],
)
def test_decision(error: Exception, read: bool, write: bool) -> None:
    assert retry_policy.should_retry(READ, error) is read
    assert retry_policy.should_retry(CANCEL, error) is write
    assert retry_policy.should_retry(WRITE, error) is write


def test_backoff_grows_with_jitter_up_to_a_maximum() -> None:
    error = x.BankSyncServerError()
    least = [retry_policy.backoff_seconds(attempt, error, 0.0) for attempt in range(1, 8)]
    most = [retry_policy.backoff_seconds(attempt, error, 1.0) for attempt in range(1, 8)]
    assert most == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert least == [wait / 2 for wait in most]


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 0.5), (7.0, 7.5), (9999.0, 120.5)])
def test_retry_after_comes_first_up_to_a_maximum(asked: float, waits: float) -> None:
    assert retry_policy.backoff_seconds(1, x.BankSyncRateLimitError(retry_after=asked), 0.5) == waits
