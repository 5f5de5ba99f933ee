"""The command ``python -m demo``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.console import Console
from demo.errors import DemoError
from demo.folders import DEFAULT_BASE
from demo.run import Demo, Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

INTERRUPTED = 130
FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Sync and export a family of sample clients with a real Airflow on this machine.",
    )
    parser.add_argument(
        "--ui", action="store_true", help="keep Airflow's web UI running until you press Ctrl-C"
    )
    parser.add_argument(
        "--portals", type=_positive, default=Options.portals, help="how many clients (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=Options.seed,
        help="the sample data to use (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_BASE, help="folder for the run's files (default: .demo)"
    )
    parser.add_argument("--verbose", action="store_true", help="show Airflow's output, like VERBOSE=1")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Its processes end with it, even if it fails."""
    chosen = parse(arguments)
    # SIGTERM and SIGHUP clean up like Ctrl-C. SIGINT needs a handler too: a shell that starts the demo in the
    # background makes it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    verbose = chosen.verbose or os.environ.get("VERBOSE", "").lower() not in FALSE_WORDS
    console = Console(verbose=verbose)
    options = Options(portals=chosen.portals, seed=chosen.seed, output=chosen.output.absolute(), ui=chosen.ui)
    try:
        return Demo(console, options).run()
    except DemoError as error:
        console.line()
        console.line(console.paint(f"The demo stopped: {error}", "red"))
        for line in error.details:
            console.line(line)
        return 1
    except KeyboardInterrupt:
        console.line()
        console.line("Interrupted. All processes of the demo have ended.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
