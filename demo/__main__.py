"""``python -m demo``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.console import Console
from demo.errors import DemoError
from demo.places import DEFAULT_BASE
from demo.story import Demo, Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

INTERRUPTED = 130
FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Sync and export a family of made-up clients with a real Airflow, on this machine only.",
    )
    parser.add_argument("--ui", action="store_true", help="leave Airflow's web UI up until Ctrl-C")
    parser.add_argument(
        "--portals", type=_positive, default=Options.portals, help="how many clients (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=Options.seed,
        help="another number is another family (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_BASE, help="folder for the files of the run (default: .demo)"
    )
    parser.add_argument("--verbose", action="store_true", help="show what Airflow says, as VERBOSE=1 does")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; whatever ends it, its processes end too."""
    chosen = parse(arguments)
    # A closed terminal and a polite kill clean up as Ctrl-C does; and Ctrl-C does also where a shell that started us in
    # the background had told us to ignore it.
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
        console.line("Interrupted. Everything that the demo had started has ended.")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read along has gone; there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
