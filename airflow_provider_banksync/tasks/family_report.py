"""What the log and the error of a family sync say about its feeds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.jobs import SIGN_IN_HINT
from airflow_provider_banksync.api.redaction import counted

if TYPE_CHECKING:
    from airflow_provider_banksync.api.family.state import FeedResult


#: The message of a failure names at most this many feeds. The log names all.
MAX_NAMED = 20


def rows_of_results(results: list[FeedResult]) -> dict[str, dict[str, Any]]:
    """Return what the task returns: a row for each feed, by the feed's id.

    ``not_written`` counts the rows that the destination refused; None if the job did not complete.
    """
    count_of = Counter(result.feed_id for result in results)
    return {
        result.feed_id if count_of[result.feed_id] == 1 else "/".join(result.key): {
            "feed_name": result.name,
            "workspace_id": result.workspace_id,
            "portal": result.portal,
            "job_id": result.job_id,
            "status": result.status,
            "written": result.written,
            "not_written": result.error_count if result.status == "completed" else None,
            "error": result.error,
        }
        for result in results
    }


def describe_failures(failed: list[FeedResult], count: int, max_failures: int) -> str:
    """Return the message of a task in which these of its feeds failed."""
    more = f", more than max_failures={max_failures}" if len(failed) > max_failures else ""
    lines = [f"{len(failed)} of {counted(count, 'feed')} failed{more}:"]
    lines += [f"{each.display_name}: {each.status}: {each.error}" for each in failed[:MAX_NAMED]]
    if len(failed) > MAX_NAMED:
        lines.append(f"and {len(failed) - MAX_NAMED} more. The log names all of them.")
    if signed_out := sum(each.needs_sign_in for each in failed):
        lines.append(f"{SIGN_IN_HINT} This concerns {signed_out} of the feeds.")
    return "\n- ".join(lines)


def log_results(log: Any, results: list[FeedResult]) -> None:
    """Log a line for each feed, sorted by client, and the totals."""
    for result in sorted(results, key=lambda result: (result.portal or "", result.name)):
        parts = [result.status]
        if result.written is not None:
            parts.append(counted(result.written, "row"))
        if result.duration_seconds is not None:
            parts.append(f"{result.duration_seconds:.0f} s")
        if result.job_id:
            parts.append(f"job {result.job_id} {result.origin}".rstrip())
        if result.error_count and result.error is None:
            parts.append(counted(result.error_count, "error"))
        reason = f": {result.error}" if result.error is not None else ""
        log.info("%s: %s%s", result.display_name, ", ".join(parts), reason)
    counts = Counter(result.status for result in results)
    totals = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    written = sum(result.written or 0 for result in results)
    log.info("%s: %s; %s written.", counted(len(results), "feed"), totals, counted(written, "row"))
