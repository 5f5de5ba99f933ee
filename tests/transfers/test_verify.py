"""``python -m airflow_provider_banksync.export verify``: what differs from the manifests is found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.export.__main__ import main
from airflow_provider_banksync.sandbox import BankSyncSandbox
from tests.support.export_task import Task, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.object_stores import S3, Store

TOKEN = "0123456789ab"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Exports of each kind at one destination."""
    folder = tmp_path_factory.mktemp("good")
    with BankSyncSandbox(portals=1, time_scale=0) as sandbox, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", sandbox.connection_uri)
        Task(folder).run(resource="banks")
        Task(folder).run(resource="balances", scope="self", file_format="csv")
        Task(folder).run(resource="transactions", from_date="2026-02-01", to_date="2026-02-10")
        yield folder


@pytest.fixture
def lake(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "lake"))


def part(lake: Path) -> Path:
    return min(path for path in lake.rglob("part-*") if path.stat().st_size)


def test_a_good_export(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(lake)]) == 0
    manifests = [json.loads(path.read_bytes()) for path in lake.rglob("_manifest.json")]
    files = [file for manifest in manifests for file in manifest["files"]]
    assert capsys.readouterr().out == (
        f"3 manifests, {len(files)} files, {sum(file['rows'] for file in files)} rows, "
        f"{sum(file['bytes'] for file in files)} bytes. 0 problems.\n"
    )


def change_a_byte(path: Path) -> None:
    body = path.read_bytes()
    path.write_bytes(body[:-2] + bytes([body[-2] ^ 1]) + body[-1:])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "missing: {}"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "other size: {} has "),
        (change_a_byte, "other content: {} differs from the SHA-256"),
        (lambda path: shutil.copy(path, f"{path}.bak"), "unknown: {}.bak: no manifest lists it"),
    ],
    ids=["missing", "cut", "changed", "unknown"],
)
def test_a_difference_is_named(
    lake: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    problem: str,
) -> None:
    path = part(lake)
    damage(path)
    assert main(["verify", lake.as_uri()]) == 1
    first, summary = capsys.readouterr().out.splitlines()
    assert first.startswith(problem.format(path.relative_to(lake)))
    assert summary.endswith(" 1 problem.")


def test_sizes_alone_do_not_show_changed_content(lake: Path) -> None:
    change_a_byte(part(lake))
    assert main(["verify", str(lake), "--sizes-only"]) == 0


def test_a_part_of_a_killed_try_is_uncommitted(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    banks = lake / "resource=banks"
    (banks / "_progress").mkdir()
    (banks / f"_progress/{TOKEN}.json").write_text("{}")
    (next(banks.glob("workspace_id=*")) / f"part-00000-{TOKEN}.jsonl").touch()
    assert main(["verify", str(lake)]) == 1
    assert capsys.readouterr().out.startswith("uncommitted: resource=banks/workspace_id=")


@pytest.mark.parametrize("body", [b"", b"{", b'{"format_version": 99}'])
def test_a_manifest_that_cannot_be_read(lake: Path, capsys: pytest.CaptureFixture[str], body: bytes) -> None:
    path = lake / "resource=banks/_manifest.json"
    path.write_bytes(body)
    assert main(["verify", str(lake)]) == 1
    assert f"manifest: destination {path}" in capsys.readouterr().out.replace(lake.as_uri(), str(lake))


def test_as_a_command(lake: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airflow_provider_banksync.export", "verify", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    before = tree(lake)
    part(lake).unlink()
    done = run(str(lake))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("missing: resource=")
    assert len(tree(lake)) == len(before) - 1, "it changes nothing"


@pytest.mark.parametrize(
    ("destination", "words"),
    [("{}/nowhere", "there is no folder"), ("nosuch://lake", "nosuch"), ("s3://", "")],
)
def test_a_destination_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], destination: str, words: str
) -> None:
    assert main(["verify", destination.format(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_an_empty_folder_is_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("no manifest: ")


def test_on_s3(
    good: Path, s3: S3, on_s3: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    for path, body in tree(good).items():
        on_s3.put(path, body)
    command = ["verify", on_s3.url, "--option", f"endpoint_url={s3.endpoint}"]
    assert main(command) == 0
    on_s3.remove(str(part(good).relative_to(good)))
    assert main(command) == 1
    assert "\nmissing: resource=" in capsys.readouterr().out
