"""The summary that the demo prints at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.family import RESOURCES, is_broken
from demo.folders import short_path
from demo.table import fit, plural, size, table

if TYPE_CHECKING:
    from demo.console import Console
    from demo.family import Family
    from demo.folders import RunFolders
    from demo.outcome import SyncCheck, SyncOutcome
    from demo.verify import Export

CLIENT_LIMIT = 30
FEED_LIMIT = 26


@dataclass(frozen=True)
class Summary:
    """The facts of the summary."""

    family: Family
    sync_check: SyncCheck
    export: Export
    folders: RunFolders
    requests_served: int
    requests_rate_limited: int
    requests_per_minute: int
    peak_waiting: int
    worker_slots: int

    @property
    def problems(self) -> list[str]:
        """All problems."""
        return [*self.sync_check.problems, *self.export.problems]


def print_summary(console: Console, summary: Summary) -> None:
    """Print the summary."""
    console.line()
    for line in (
        *_syncs(console, summary),
        "",
        *_broken_banks(console, summary),
        "",
        *_files(console, summary),
    ):
        console.line(line)
    console.line()
    for line in _verdict(console, summary):
        console.line(line)


def _syncs(console: Console, summary: Summary) -> list[str]:
    rows = []
    previous = None
    for outcome in sorted(summary.sync_check.syncs, key=lambda each: _order(summary.family, each)):
        client = (
            "" if outcome.feed.workspace_id == previous else summary.family.names[outcome.feed.workspace_id]
        )
        previous = outcome.feed.workspace_id
        job = outcome.job
        rows.append(
            [
                fit(client, CLIENT_LIMIT),
                fit(outcome.feed.name, FEED_LIMIT),
                job["status"].upper() if outcome.failed else job["status"],
                str(job["transactionsProcessed"]),
                str(job["transactionsWritten"]),
                _note(outcome),
            ]
        )
    header, *lines = table(("CLIENT", "FEED", "JOB", "READ", "WRITTEN", ""), rows, align="lllrrl")
    return [
        console.paint("Syncs: one BankSync job for each feed, the firm's own first", "bold"),
        header,
        *lines,
    ]


def _order(family: Family, outcome: SyncOutcome) -> tuple[int, str]:
    position = list(family.names).index(outcome.feed.workspace_id)
    return position, outcome.feed.name


def _note(outcome: SyncOutcome) -> str:
    if outcome.on_purpose:
        return "<- on purpose"
    if errors := len(outcome.job["errors"]):
        return f"{plural(errors, 'row')} refused"
    return ""


def _broken_banks(console: Console, summary: Summary) -> list[str]:
    lines = []
    broken = [
        (key, bank)
        for key, banks in summary.family.rows["banks"].items()
        for bank in banks
        if is_broken(bank)
    ]
    for workspace_id, bank in broken:
        failed = [
            each
            for each in summary.sync_check.syncs
            if each.on_purpose and bank["id"] in each.feed.broken_banks
        ]
        names = ", ".join(f'"{outcome.feed.name}"' for outcome in failed)
        title = f"This is on purpose: {bank['name']} of {summary.family.names[workspace_id]}"
        lines += [
            console.paint(title, "yellow"),
            f"  The sandbox broke the sign-in of this client's bank, so {plural(len(failed), 'feed')} failed:",
            f"  {names}. BankSync's reason:",
            *sorted({f"  {outcome.reason}." for outcome in failed}),
            "  Only the client can fix that. All other clients were synced and exported.",
            "  This is the only reason why Airflow shows the run in red: the DAG's last task requires every feed.",
        ]
    return lines


def _files(console: Console, summary: Summary) -> list[str]:
    export, family = summary.export, summary.family
    rows = []
    for workspace_id, name in family.names.items():
        counts = [str(export.rows(resource, workspace_id)) for resource in RESOURCES]
        rows.append([fit(name, CLIENT_LIMIT), *counts, size(export.bytes(workspace_id)), workspace_id])
    totals = [str(export.rows(resource)) for resource in RESOURCES]
    rows.append(["all", *totals, size(export.bytes()), f"in {plural(len(export.files), 'file')}"])
    header = ("CLIENT", *(name.upper() for name in RESOURCES), "SIZE", "WORKSPACE_ID")
    return [
        console.paint("Rows exported: one folder for each client, and one for the firm itself", "bold"),
        *table(header, rows, align="lrrrrrl"),
        "",
        f"Files: {short_path(summary.folders.export)}/resource=<resource>/workspace_id=<WORKSPACE_ID>/",
    ]


def _verdict(console: Console, summary: Summary) -> list[str]:
    family, syncs = summary.family, summary.sync_check.syncs
    purpose = sum(outcome.on_purpose for outcome in syncs)
    done = sum(outcome.job["status"] == "completed" for outcome in syncs)
    clients, feeds = plural(len(family.clients), "client"), plural(len(syncs), "feed")
    slots = plural(summary.worker_slots, "worker slot")
    served = plural(summary.requests_served, "HTTP request")
    off, limit = summary.requests_rate_limited, summary.requests_per_minute
    lines = [
        f"{clients} and the firm itself, {feeds}: {done} synced, {purpose} failed on purpose.",
        f"Up to {summary.peak_waiting} syncs waited at the same time, in one triggerer and without any of the {slots}.",
        f"The sandbox answered {served}, {off} of them with 429. The plan allows {limit} a minute.",
    ]
    if not summary.problems:
        total = sum(family.count(resource) for resource in RESOURCES)
        lines.append(
            console.paint(
                f"Everything is correct: {total} of {total} rows equal the sandbox's rows.", "green"
            )
        )
    else:
        lines.append(console.paint("The demo found problems:", "red"))
        lines += [f"  {problem}" for problem in summary.problems]
    return lines
