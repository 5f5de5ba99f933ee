"""The sandbox as a command."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_banksync import __version__
from airflow_provider_banksync.sandbox.clock import parse_moment
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.ratelimit import RateLimit
from airflow_provider_banksync.sandbox.server import BankSyncSandbox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

PROGRAM = "python -m airflow_provider_banksync.sandbox"
_CONNECTION = "AIRFLOW_CONN_BANKSYNC_DEFAULT"

_DESCRIPTION = """\
A BankSync API on this machine: an accounting firm with client portals, their banks, accounts, transactions, feeds and
sync jobs, over real HTTP and as unforgiving as the real one. Nothing leaves this machine and no account is needed.
"""
_EPILOG = f"""\
examples:
  {PROGRAM}
        25 clients on a free port; prints what to paste
  {PROGRAM} --port 8765 --time-scale 20
        jobs run twenty times as fast: one of 40 seconds takes 2
  {PROGRAM} --portals 5 --broken-banks 1
        one client's bank wants a new sign-in: reading its accounts answers 503, syncing them fails
  {PROGRAM} --seed 7 --now 2026-03-01T08:00:00Z
        the same data on every run, to the byte

  {PROGRAM} --rate-limit 100 --drift
        as unforgiving as the real one on its standard plan

then, in another terminal (name yourself: default user agents of libraries are refused, as they are in production):
  curl -A my-test/1.0 -H "X-API-Key: $KEY" http://127.0.0.1:8765/v1/feeds?scope=family

and what only a sandbox can do, without a key and from this machine only:
  curl http://127.0.0.1:8765/_sandbox
        lists the calls: faults, clock, requests, transactions, banks, keys
  curl -d '{{"fault": "status", "with": {{"code": 503}}, "path": "/v1/feeds/**", "times": 2}}' \
       -H 'Content-Type: application/json' http://127.0.0.1:8765/_sandbox/faults
        the next two requests for feeds get a 503
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, without repeating the usage."""
        self.exit(2, f"sandbox: {message} (see --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = BankSyncSandbox(
            portals=options.portals,
            seed=options.seed,
            port=options.port,
            time_scale=options.time_scale,
            broken_banks=options.broken_banks,
            deleted_portals=options.deleted_portals,
            page_size=options.page_size,
            job_seconds=tuple(options.job_seconds),
            row_error_share=options.row_errors,
            failure_share=options.failures,
            now=options.now,
            rate_limit=_rate_limit(options),
            transactions_per_day=options.transactions_per_day,
            rows_per_sync=options.rows_per_sync,
            drift=options.drift,
            block_default_user_agents=not options.allow_default_user_agents,
        )
    except SandboxError as error:
        parser.error(str(error))
    try:
        _serve(sandbox)
    except SandboxError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _rate_limit(options: argparse.Namespace) -> RateLimit | None:
    about = {"window": options.rate_window, "retry_after": options.retry_after}
    given = {name: value for name, value in about.items() if value is not None}
    if options.rate_limit is not None:
        return RateLimit(options.rate_limit, **given)
    if given:
        raise SandboxError("--rate-window and --retry-after say more about a --rate-limit, which is missing")
    return None


def _serve(sandbox: BankSyncSandbox) -> None:
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_stop.set())
    with sandbox:
        sys.stdout.write(_welcome(sandbox))
        sys.stdout.flush()
        told_to_stop.wait()
    sys.stdout.write("\nStopped.\n")


def _welcome(sandbox: BankSyncSandbox) -> str:
    clients = len(sandbox.portals)
    return (
        f"BankSync sandbox {__version__}: {sandbox.world.parent.name} with {clients} client portals"
        f" (seed {sandbox.world.seed.number}, time x{sandbox.clock.scale:g})\n"
        f"\n"
        f"  URL      {sandbox.url}\n"
        f"  API key  {sandbox.api_key}\n"
        f"\n"
        f"Airflow connection, to paste into the shell that runs Airflow:\n"
        f"\n"
        f"  export {_CONNECTION}='{sandbox.connection_uri}'\n"
        f"\n"
        f"Faults, clock, requests, transactions: {sandbox.url}/_sandbox says how. Ctrl-C stops it.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    add = parser.add_argument
    add("--portals", type=int, default=25, metavar="N", help="client portals under the firm (25)")
    add("--seed", type=int, default=7, metavar="N", help="the number that all data grows from (7)")
    add("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1; 0 finds a free one (0)")
    add(
        "--time-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="sandbox seconds in a real second; 0 stops (1)",
    )
    add(
        "--broken-banks",
        type=int,
        default=0,
        metavar="N",
        help="portals whose first bank needs a new sign-in (0)",
    )
    add(
        "--deleted-portals",
        type=int,
        default=2,
        metavar="N",
        help="portals that were deleted: they answer 404 (2)",
    )
    add("--page-size", type=int, default=100, metavar="N", help="transactions on a page (100)")
    add(
        "--job-seconds",
        type=float,
        nargs=2,
        default=(8.0, 45.0),
        metavar=("MIN", "MAX"),
        help="how long a sync takes, in sandbox seconds (8 45)",
    )
    add(
        "--row-errors",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of feeds, 0 to 1, whose completed syncs could not write some rows (0.05)",
    )
    add(
        "--failures",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of feeds, 0 to 1, whose syncs fail (0)",
    )
    add(
        "--now",
        type=_moment,
        metavar="TIME",
        help="where the clock starts, e.g. 2026-03-01T08:00:00Z (real time)",
    )
    add(
        "--rate-limit",
        type=int,
        metavar="N",
        help="requests that a key may send in a window; then 429 (no limit)",
    )
    add("--rate-window", type=float, metavar="S", help="that window, in sandbox seconds (60)")
    add(
        "--retry-after",
        choices=("seconds", "date"),
        help="the form of Retry-After on a 429 (seconds)",
    )
    add(
        "--transactions-per-day",
        type=float,
        metavar="N",
        help="transactions of each account on an average day (what a small business has, about one)",
    )
    add(
        "--rows-per-sync",
        type=int,
        default=0,
        metavar="N",
        help="transactions that a completed sync brings to each account (0)",
    )
    add(
        "--drift",
        action="store_true",
        help="answer as the live API has been seen to: other forms, unknown fields, unknown sources",
    )
    add(
        "--allow-default-user-agents",
        action="store_true",
        help="let in curl, python-requests and the like; the real API's edge answers them 403, error 1010",
    )
    return parser


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except SandboxError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
