"""Whether to retry a request, and after which backoff. Pure functions: `api.http.retrying` hands them to tenacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncError, BankSyncNotFoundError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Request

INITIAL_BACKOFF = 1.0
MAX_BACKOFF = 30.0
#: Seconds of a ``Retry-After`` that are honored. A longer one is cut.
MAX_RETRY_AFTER = 120.0
#: Seconds that one request waits between its tries, in total.
MAX_TOTAL_BACKOFF = 300.0
#: Seconds for which a 404 must last before it ends a wait.
NOT_FOUND_GRACE = 60.0


@dataclass
class NotFoundGrace:
    """Tells whether a 404 may be temporary: a replica of BankSync may not have an object yet that another one created.

    :param since: when the requests for the object began to get a 404; None: the last one did not.
    """

    since: float | None = None

    def covers(self, error: BankSyncError, now: float) -> bool:
        """Tell whether the error is a 404 that does not last long enough yet."""
        if not isinstance(error, BankSyncNotFoundError):
            return False
        self.since = now if self.since is None else self.since
        return now - self.since < NOT_FOUND_GRACE

    def reset(self) -> None:
        """Forget the 404s, because a request found the object."""
        self.since = None


def should_retry(request: Request, error: BaseException) -> bool:
    """Tell whether sending the same request again is useful and safe.

    A request that is not `retry_safe` is sent again only if the error proves that the server did nothing: there was no
    connection, or the answer was a 429. In all other cases a flow first checks what the server did.
    """
    if not isinstance(error, BankSyncError) or not error.transient or isinstance(error, BankSyncBudgetError):
        return False
    if asks_for_long_wait(error):
        return False
    return request.retry_safe or not error.ambiguous


def asks_for_long_wait(error: BankSyncError) -> bool:
    """Tell whether the server asks to wait for longer than all retries of a request may take."""
    return (getattr(error, "retry_after", None) or 0.0) > MAX_TOTAL_BACKOFF


def backoff_seconds(attempt: int, error: BaseException | None, jitter: float) -> float:
    """Return the seconds to wait after failed try number `attempt`, counted from 1.

    :param jitter: a random number from 0 to 1. It keeps clients that failed at the same time from retrying together.
    """
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        return min(float(retry_after), MAX_RETRY_AFTER) + jitter
    ceiling = min(MAX_BACKOFF, INITIAL_BACKOFF * 2.0 ** (attempt - 1))
    return ceiling * (0.5 + 0.5 * jitter)
