"""Whether to try again and how long to wait: one decision and one wait for both clients.

Pure functions; tenacity runs them (`airflow_provider_banksync.api.retrying`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Request

FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
#: A server may ask for more patience than a request is worth; what is beyond this is cut off.
LONGEST_RETRY_AFTER = 120.0
#: No single request waits longer than this between its tries, all in all.
LONGEST_TOTAL = 300.0


def should_retry(request: Request, error: BaseException) -> bool:
    """Tell whether sending the same request again is both useful and safe.

    A request that must not be repeated is sent again only where the error proves that it did no work (no connection
    was made, or a 429): everything else is the business of a conversation that looks first.
    """
    if not isinstance(error, BankSyncError) or not error.transient or isinstance(error, BankSyncBudgetError):
        return False
    return request.repeatable or not error.ambiguous


def wait_seconds(attempt: int, error: BaseException | None, jitter: float) -> float:
    """Return how long to wait after failed attempt number `attempt` (from 1).

    :param jitter: a random number from 0 to 1, so that clients that failed together do not return together.
    """
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        return min(float(retry_after), LONGEST_RETRY_AFTER) + jitter
    ceiling = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
    return ceiling * (0.5 + 0.5 * jitter)
