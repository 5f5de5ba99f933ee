"""Tenacity's arguments for `api.retry_policy`, the same for its blocking and its asynchronous loop."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_provider_banksync.api import retry_policy

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Request

log = logging.getLogger(__name__)


def tenacity_arguments(request: Request, max_retries: int, max_wait: float | None = None) -> dict[str, Any]:
    """Return the arguments of `tenacity.Retrying` and `tenacity.AsyncRetrying` for one request.

    :param max_wait: seconds after which no retry starts. None means no limit.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return retry_policy.backoff_seconds(state.attempt_number, error, random.random())  # noqa: S311 - spreads retries

    def total_backoff_exceeded(state: tenacity.RetryCallState) -> bool:
        # Only the waits between tries count, not the time in the queue of the rate limit.
        return state.idle_for + state.upcoming_sleep > retry_policy.MAX_TOTAL_BACKOFF

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "%s Starting try %d of %d in %.1f s.",
            error,
            state.attempt_number + 1,
            max_retries + 1,
            state.upcoming_sleep,
        )

    attempts_exhausted = tenacity.stop_after_attempt(max_retries + 1)
    deadline_passed = tenacity.stop_never if max_wait is None else tenacity.stop_before_delay(max_wait)
    return {
        "retry": tenacity.retry_if_exception(lambda error: retry_policy.should_retry(request, error)),
        "stop": lambda state: (
            attempts_exhausted(state) or deadline_passed(state) or total_backoff_exceeded(state)
        ),
        "wait": wait,
        "before_sleep": before_sleep,
        "reraise": True,
    }
