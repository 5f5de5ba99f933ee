"""The account of a run that is shown at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.family import RESOURCES, is_broken
from demo.places import shown
from demo.table import fit, plural, size, table

if TYPE_CHECKING:
    from demo.console import Console
    from demo.family import Family
    from demo.outcome import Judgement, SyncOutcome
    from demo.places import Places
    from demo.verify import Export

CLIENT_LIMIT = 30
FEED_LIMIT = 26


@dataclass(frozen=True)
class Story:
    """All that the summary tells."""

    family: Family
    judgement: Judgement
    export: Export
    places: Places
    requests_served: int
    requests_put_off: int
    requests_per_minute: int
    peak_waiting: int
    worker_slots: int

    @property
    def problems(self) -> list[str]:
        """Everything that is not as it should be."""
        return [*self.judgement.problems, *self.export.problems]


def tell(console: Console, story: Story) -> None:
    """Write the summary."""
    console.line()
    for line in (*_syncs(console, story), "", *_on_purpose(console, story), "", *_files(console, story)):
        console.line(line)
    console.line()
    for line in _verdict(console, story):
        console.line(line)


def _syncs(console: Console, story: Story) -> list[str]:
    rows = []
    previous = None
    for outcome in sorted(story.judgement.syncs, key=lambda each: _order(story.family, each)):
        client = (
            "" if outcome.feed.workspace_id == previous else story.family.names[outcome.feed.workspace_id]
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
                _remark(outcome),
            ]
        )
    header, *lines = table(("CLIENT", "FEED", "JOB", "READ", "WRITTEN", ""), rows, align="lllrrl")
    return [
        console.paint("Syncs: one job of BankSync for each feed, the firm's own first", "bold"),
        header,
        *lines,
    ]


def _order(family: Family, outcome: SyncOutcome) -> tuple[int, str]:
    position = list(family.names).index(outcome.feed.workspace_id)
    return position, outcome.feed.name


def _remark(outcome: SyncOutcome) -> str:
    if outcome.on_purpose:
        return "<- on purpose"
    if errors := len(outcome.job["errors"]):
        return f"{plural(errors, 'row')} refused"
    return ""


def _on_purpose(console: Console, story: Story) -> list[str]:
    lines = []
    broken = [
        (key, bank) for key, banks in story.family.rows["banks"].items() for bank in banks if is_broken(bank)
    ]
    for workspace_id, bank in broken:
        failed = [
            each for each in story.judgement.syncs if each.on_purpose and bank["id"] in each.feed.broken_banks
        ]
        names = ", ".join(f'"{outcome.feed.name}"' for outcome in failed)
        title = f"This is on purpose: {bank['name']} of {story.family.names[workspace_id]}"
        lines += [
            console.paint(title, "yellow"),
            f"  The sandbox broke the sign-in of this client's bank, so {plural(len(failed), 'feed')} could not sync:",
            f"  {names}. BankSync's reason:",
            *sorted({f"  {outcome.reason}." for outcome in failed}),
            "  Only the client can cure that. Every other client was synced and exported all the same.",
            "  Airflow shows the run in red for that reason alone: the DAG's last task asks for every feed.",
        ]
    return lines


def _files(console: Console, story: Story) -> list[str]:
    export, family = story.export, story.family
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
        f"Look at them: {shown(story.places.export)}/resource=<resource>/workspace_id=<WORKSPACE_ID>/",
    ]


def _verdict(console: Console, story: Story) -> list[str]:
    family, syncs = story.family, story.judgement.syncs
    purpose = sum(outcome.on_purpose for outcome in syncs)
    done = sum(outcome.job["status"] == "completed" for outcome in syncs)
    clients, feeds = plural(len(family.clients), "client"), plural(len(syncs), "feed")
    slots = plural(story.worker_slots, "worker slot")
    served = plural(story.requests_served, "HTTP request")
    off, limit = story.requests_put_off, story.requests_per_minute
    lines = [
        f"{clients} and the firm itself, {feeds}: {done} synced, {purpose} failed on purpose.",
        f"Up to {story.peak_waiting} syncs waited at the same time, all in one triggerer and in none of the {slots}.",
        f"The sandbox answered {served}, {off} of them with 429; the plan allows {limit} a minute.",
    ]
    if not story.problems:
        total = sum(family.count(resource) for resource in RESOURCES)
        lines.append(
            console.paint(f"All is well: {total} of {total} rows equal what the sandbox serves.", "green")
        )
    else:
        lines.append(console.paint("This is not how it should have ended:", "red"))
        lines += [f"  {problem}" for problem in story.problems]
    return lines
