"""What the scripts of this folder share: lock files, interpreters, environments, and telling what goes on.

Standard library only, Python 3.10 and later: these scripts run before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PACKAGE = "airflow-provider-banksync"
VERBOSE = os.environ.get("VERBOSE", "") not in ("", "0")

_STAMP = "installed.txt"


@dataclass(frozen=True)
class Lock:
    """One lock file: every package of one Airflow line, pinned. Its header says what it is for."""

    name: str
    path: Path
    airflow: str
    pythons: tuple[str, ...]

    @classmethod
    def read(cls, name: str) -> Lock:
        """Read `requirements/airflow-<name>.txt`, or `requirements/<name>.txt`."""
        for path in (REQUIREMENTS / f"airflow-{name}.txt", REQUIREMENTS / f"{name}.txt"):
            if path.is_file():
                header = dict(
                    re.findall(r"^# (airflow|python): (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                )
                return cls(name, path, header["airflow"], tuple(header["python"].split()))
        known = ", ".join(sorted(p.stem.removeprefix("airflow-") for p in REQUIREMENTS.glob("airflow-*.txt")))
        raise stop(f"There is no lock file for Airflow {name}. There is one for: {known}.")

    def count(self) -> int:
        """Return how many packages are pinned."""
        return len(set(re.findall(r"^([a-z0-9._-]+)==", self.path.read_text(encoding="utf-8"), re.MULTILINE)))


def say(line: str = "") -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def stop(why: str) -> SystemExit:
    """Return what to raise to end the script with one sentence."""
    return SystemExit(f"error: {why}")


def script(main: Callable[[], None]) -> None:
    """Run a script's `main`; Ctrl-C ends it without a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        raise stop("interrupted; the same command takes it up again.") from None


def seconds(since: float) -> str:
    """Return the time since then, for people."""
    passed = time.monotonic() - since
    return (
        f"{passed:.1f} s" if passed < 10 else f"{passed:.0f} s" if passed < 120 else f"{passed / 60:.1f} min"
    )


def environment(**more: str) -> dict[str, str]:
    """Return the environment for child processes: pip's settings hold for uv too, and no outer venv leaks in."""
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "UV_NO_PROGRESS": "1"}
    for theirs, ours in (("PIP_CERT", "SSL_CERT_FILE"), ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")):
        if theirs in env:
            env.setdefault(ours, env[theirs])
    for outer in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"):
        env.pop(outer, None)
    return {**env, **more}


def attempt(command: Sequence[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    """Run quietly; what it printed is in the result."""
    if VERBOSE:
        say("$ " + " ".join(map(str, command)))
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if VERBOSE:
        say(done.stdout.rstrip())
    return done


def run(command: Sequence[str | Path], what: str, **env: str) -> str:
    """Run quietly and return the output; if it fails, show all of it and end."""
    done = attempt(command, **env)
    if done.returncode:
        if not VERBOSE:
            say(done.stdout.rstrip())
        raise stop(f"{what} failed (exit status {done.returncode}); its output is above.")
    return done.stdout


@cache
def find_python(version: str) -> Path | None:
    """Return a working interpreter of that version, or None."""
    done = subprocess.run(
        [ROOT / "scripts" / "find-python", version],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None


@cache
def uv() -> Path | None:
    """Return uv, installed with pip into `.venv-tools`: several times faster than pip. None where it does not work."""
    here = ROOT / ".venv-tools" / "bin"
    if not works(here / "uv", "--version"):
        attempt([sys.executable, "-m", "venv", "--clear", here.parent])
        attempt([here / "python", "-m", "pip", "install", "-qq", "-r", REQUIREMENTS / "tools.txt"])
        if not works(here / "uv", "--version"):
            say("uv cannot be had here: using pip, which takes several times as long.")
            return None
    return here / "uv"


def works(*command: str | Path) -> bool:
    """Tell whether a program is there and runs."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def digest(*paths: Path) -> str:
    """Return a short fingerprint of the files' contents."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


class Venv:
    """One virtual environment, brought to what a lock file says and no further than needed.

    Its stamp file holds fingerprints of what was installed; when they still fit, nothing is done.
    """

    def __init__(self, path: Path, lock: Lock, *, fast: bool) -> None:
        """`fast`: with uv, if it can be had; otherwise with pip."""
        self.path = path
        self.lock = lock
        self.fast = fast
        self.python = path / "bin" / "python"

    def version(self) -> str | None:
        """Return the `major.minor` of the interpreter inside; None if there is none that runs."""
        try:
            done = subprocess.run(
                [self.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def wanted(self, version: str) -> dict[str, str]:
        """Return what the stamp must say."""
        return {
            "python": version,
            "lock": digest(self.lock.path),
            "package": digest(ROOT / "pyproject.toml", ROOT / "airflow_provider_banksync" / "__init__.py"),
        }

    def stamp(self) -> dict[str, str]:
        """Return what the stamp says; empty when nothing was finished."""
        try:
            text = (self.path / _STAMP).read_text(encoding="utf-8")
        except OSError:
            return {}
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    def finish(self, version: str) -> None:
        """Write the stamp, whole or not at all."""
        text = "".join(f"{key}: {value}\n" for key, value in self.wanted(version).items())
        new = self.path / f"{_STAMP}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self.path / _STAMP)

    def create(self, interpreter: Path) -> None:
        """Make it anew."""
        shutil.rmtree(self.path, ignore_errors=True)
        program = uv() if self.fast else None
        if program and attempt([program, "venv", "-q", "--python", interpreter, self.path]).returncode == 0:
            return
        run([interpreter, "-m", "venv", "--clear", self.path], f"creating {self.path.name}")

    def install(self, *arguments: str | Path, what: str) -> None:
        """Install with uv, else with pip."""
        program = uv() if self.fast else None
        if program:
            done = attempt([program, "pip", "install", "-q", "--python", self.python, *arguments])
            if done.returncode == 0:
                return
            say(f"uv could not install {what} here, pip tries: " + (done.stdout.strip() or "no reason given"))
        self.pip(*arguments, what=what)

    def pip(self, *arguments: str | Path, what: str) -> None:
        """Install with pip. On a terminal, the line says how far it is."""
        if not works(self.python, "-m", "pip", "--version"):
            run([self.python, "-m", "ensurepip", "--upgrade"], f"putting pip into {self.path.name}")
        command = [str(part) for part in (self.python, "-m", "pip", "install", *arguments)]
        if VERBOSE or not sys.stdout.isatty():
            run([*command, "-qq"], f"installing {what}")
            return
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines = list(_watch(process, self.lock.count()))
        if process.wait():
            say("\n" + "".join(lines).rstrip())
            raise stop(f"installing {what} failed (exit status {process.returncode}); pip's output is above.")

    def check(self) -> None:
        """Fail unless the Airflow of the lock arrived and everything fits together."""
        inside = run(
            [self.python, "-c", "from importlib.metadata import version; print(version('apache-airflow'))"],
            "reading the installed Airflow's version",
        )
        if inside.split()[-1] != self.lock.airflow:
            raise stop(
                f"{self.path.name} should hold Airflow {self.lock.airflow} and holds {inside.strip()}."
            )
        program = uv() if self.fast else None
        command = (
            [program, "pip", "check", "--python", self.python]
            if program
            else [self.python, "-m", "pip", "check"]
        )
        done = attempt(command)
        if done.returncode:
            say(done.stdout.rstrip())
            raise stop(f"{self.lock.path.name} no longer fits pyproject.toml: run `make lock`.")


def _watch(process: subprocess.Popen[str], total: int) -> Iterator[str]:
    """Yield pip's lines, and keep one line of the terminal up to date."""
    collected = 0
    for line in process.stdout or ():
        collected += line.startswith("Collecting ")
        done = f"{collected} of {total}" if not line.startswith("Installing ") else "fetched, unpacking"
        sys.stdout.write(f"\r\033[K      {done} ...")
        sys.stdout.flush()
        yield line
    sys.stdout.write("\r\033[K")
    sys.stdout.flush()
