"""tenacity's settings from our decision, for its blocking and its asynchronous loop alike."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_provider_banksync.api import retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.messages import Request

log = logging.getLogger(__name__)


def settings(
    request: Request,
    max_retries: int,
    patience: float | None = None,
    rng: Callable[[], float] = random.random,
) -> dict[str, Any]:
    """Return the arguments for `tenacity.Retrying` and `tenacity.AsyncRetrying` that send one request.

    :param max_retries: further tries after the first.
    :param patience: seconds after which no further try makes sense; None: there is no such time.
    :param rng: gives numbers from 0 to 1.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return retry.wait_seconds(state.attempt_number, error, rng())

    def waited_enough(state: tenacity.RetryCallState) -> bool:
        # Only what this request waited between its tries: time in the queue of the rate budget is not its fault.
        return state.idle_for + state.upcoming_sleep > retry.LONGEST_TOTAL

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "%s Try %d of %d in %.1f s.",
            error,
            state.attempt_number + 1,
            max_retries + 1,
            state.upcoming_sleep,
        )

    out_of_tries = tenacity.stop_after_attempt(max_retries + 1)
    out_of_time = tenacity.stop_never if patience is None else tenacity.stop_before_delay(patience)
    return {
        "retry": tenacity.retry_if_exception(lambda error: retry.should_retry(request, error)),
        "stop": lambda state: out_of_tries(state) or out_of_time(state) or waited_enough(state),
        "wait": wait,
        "before_sleep": before_sleep,
        "reraise": True,
    }
