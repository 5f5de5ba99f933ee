"""``python -m airflow_provider_banksync.export verify <destination>`` checks an export."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.storage.folder import ExportError, Folder, storage_errors
from airflow_provider_banksync.export.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return 0 if the export is as its manifests say, 1 if not, and 2 if it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_banksync.export")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "verify",
        help="compare the files at a destination with their manifests",
        description="Compares the files at a destination with their manifests. Prints one line for each problem. The "
        "exit status is 0 if there is none, 1 if there are problems, and 2 if the destination cannot be read.",
    )
    command.add_argument("destination", help="URL or path of a folder, such as s3://lake/banksync")
    command.add_argument(
        "--sizes-only",
        action="store_true",
        help="compare sizes and ETags, and read only the files whose ETag differs",
    )
    command.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="option of the file system's library (fsspec), such as endpoint_url=https://...; may be repeated",
    )
    given = parser.parse_args(arguments)
    try:
        folder = _open(given.destination, dict(given.option))
        with storage_errors(folder, "read"):
            result = verify(folder, digests=not given.sizes_only)
    except (ExportError, ImportError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in (*result.problems, result)))
    return 1 if result.problems else 0


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _open(destination: str, options: dict[str, str]) -> Folder:
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(destination, **options)
    return Folder(fs, path, destination)


if __name__ == "__main__":
    sys.exit(main())
