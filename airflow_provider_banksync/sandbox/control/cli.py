"""The sandbox as a command. Its options and their help come from the parameters of ``BankSyncSandbox``."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_banksync import __version__
from airflow_provider_banksync.sandbox.clock import parse_moment
from airflow_provider_banksync.sandbox.control.sandbox import BankSyncSandbox
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.http.fault_json import add_fault_text
from airflow_provider_banksync.sandbox.world.banks import PROFILES, Banks, parse_banks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

PROGRAM = "python -m airflow_provider_banksync.sandbox"

_DESCRIPTION = """\
A BankSync API on this machine: an accounting firm with client portals, their banks, accounts, transactions, feeds and
sync jobs, over real HTTP and as unforgiving as the real API. Nothing leaves this machine, and you need no account.
"""
_EPILOG = f"""\
examples:
  {PROGRAM} --port 8765 --time-scale 20
        jobs run twenty times as fast: a job of 40 seconds takes 2
  {PROGRAM} --portals 5 --broken-banks 1
        one client's bank needs a new sign-in: reading its accounts answers 503, syncs of them fail
  {PROGRAM} --seed 7 --now 2026-03-01T08:00:00Z
        the same data on every run, to the byte
  {PROGRAM} --rate-limit 100 --drift
        as unforgiving as the real API on its standard plan
  {PROGRAM} --banks restless --time-scale 0
        rows vanish, change, and arrive late; only the clock's admin call moves the time
  {PROGRAM} --fault '{{"fault": "lag", "with": {{"seconds": 4}}, "path": "/v1/feeds/*/jobs"}}'
        lists of jobs show a new job 4 seconds late

then, in another terminal (with a User-Agent, because the sandbox refuses the default ones, as the real API does):
  curl -A my-test/1.0 -H "X-API-Key: $KEY" http://127.0.0.1:8765/v1/feeds?scope=family

http://127.0.0.1:8765/_sandbox lists the admin calls: faults, clock, requests, transactions, banks, keys.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print what is wrong in one line, without the usage."""
        self.exit(2, f"sandbox: {message} (see --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM. Returns the exit status."""
    parser = _make_parser()
    settings = vars(parser.parse_args(arguments))
    faults = settings.pop("fault")
    try:
        sandbox = BankSyncSandbox(**settings)
    except SandboxError as error:
        parser.error(str(error))
    for text in faults:
        try:
            add_fault_text(sandbox.faults, text)
        except SandboxError as error:
            parser.error(f"--fault {text}: {error}")
    try:
        _serve(sandbox)
    except SandboxError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _serve(sandbox: BankSyncSandbox) -> None:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with sandbox:
        sys.stdout.write(_banner(sandbox))
        sys.stdout.flush()
        stopped.wait()
    sys.stdout.write("\nStopped.\n")


def _banner(sandbox: BankSyncSandbox) -> str:
    """Return what a newcomer needs: the address, a connection and a DAG to paste."""
    sync = f'BankSyncTriggerSyncOperator(task_id="sync", feed_name="{sandbox.feed_name}")'
    firm = f"{sandbox.world.parent.name} with {len(sandbox.portals)} client portals"
    return f"""\
BankSync sandbox {__version__}: {firm} (seed {sandbox.world.seed.number}, time x{sandbox.clock.scale:g})

  URL      {sandbox.url}
  API key  {sandbox.api_key}
  Feed     {sandbox.feed_name}

1. Create the connection in Airflow:

airflow connections add banksync_default --conn-json '{sandbox.connection_json}'

   Or set it in the shell that runs Airflow:

export AIRFLOW_CONN_BANKSYNC_DEFAULT='{sandbox.connection_json}'

2. Save this DAG in your dags folder, and run it with "airflow dags test first_sync":

from airflow.providers.common.compat.sdk import DAG
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
with DAG("first_sync", schedule=None) as dag: {sync}

For faults, clock, requests and transactions see {sandbox.url}/_sandbox. Ctrl-C stops the sandbox.
"""


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    params = re.findall(
        r":param (\w+): (.+?)(?=\n:param |\Z)", inspect.getdoc(BankSyncSandbox) or "", re.DOTALL
    )
    help_texts = {name: " ".join(text.replace("``", "").split()).rstrip(".") for name, text in params}
    for name, parameter in inspect.signature(BankSyncSandbox).parameters.items():
        default = parameter.default
        options: dict[str, Any] = {"dest": name, "default": default, "help": help_texts.get(name)}
        if isinstance(default, bool):
            options["action"] = "store_false" if default else "store_true"
        else:
            options.update(type=type(default), metavar="N")
            if default is not None:
                options["help"] = f"{options['help']} (%(default)s)"
        options.update(_OPTIONS.get(name, {}))
        parser.add_argument(f"--{_FLAGS.get(name, name.replace('_', '-'))}", **options)
    parser.add_argument("--fault", action="append", default=[], metavar="JSON", help=_FAULT_HELP)
    return parser


def _parse_moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except SandboxError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse_banks(text: str) -> Banks:
    try:
        return parse_banks(json.loads(text) if text.startswith("{") else text)
    except (SandboxError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_FAULT_HELP = "a fault, as in POST /_sandbox/faults; give the option once for each fault"
_FLAGS = {
    "row_error_share": "row-errors",
    "failure_share": "failures",
    "block_default_user_agents": "allow-default-user-agents",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "job_seconds": {"type": float, "nargs": 2, "metavar": ("MIN", "MAX")},
    "now": {"type": _parse_moment, "metavar": "TIME"},
    "banks": {
        "type": _parse_banks,
        "metavar": "NAME",
        "help": f"how banks change their rows: {', '.join(PROFILES)}, or JSON with rates (production)",
    },
    "rate_limit": {
        "type": int,
        "help": "requests that a key may send in a minute; then 429; by default no limit",
    },
    "transactions_per_day": {"type": float},
    "block_default_user_agents": {
        "help": "let curl, python-requests and the like in; the real API answers them 403"
    },
}
