"""A ledger that follows banks as they are, day by day, although it is killed and runs twice at once."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.ledger import delta, delta_state
from tests.support.ledger_simulation import LOOKBACK_DAYS, Killed, Simulation
from tests.support.ledger_task import delta_rows, delta_run

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

START = datetime(2026, 3, 4, 6, tzinfo=timezone.utc)
FIRST = (START - timedelta(days=60)).date()
#: A night: BANKSYNC_SIMULATED_DAYS=120 BANKSYNC_SIMULATED_PORTALS=39
DAYS = int(os.environ.get("BANKSYNC_SIMULATED_DAYS", "10"))
PORTALS = int(os.environ.get("BANKSYNC_SIMULATED_PORTALS", "2"))

pytestmark = pytest.mark.banksync_sandbox(
    portals=PORTALS, banks="restless", time_scale=0, page_size=500, now=START
)


def kill_delta(chance: random.Random) -> Callable[[], None]:
    """Make the next run end before or after a commit of rows, or of the cursors."""
    patch = pytest.MonkeyPatch()
    owner, name = chance.choice([(delta.DeltaLedger, "_commit"), (delta_state.DeltaState, "save")])
    before = chance.random() < 0.5
    real = getattr(owner, name)

    def die(*given: Any, **named: Any) -> None:
        if not before:
            real(*given, **named)
        raise Killed

    patch.setattr(owner, name, die)
    return patch.undo


@pytest.mark.parametrize("seed", range(2))
def test_the_table_equals_the_banks_each_day(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, seed: int
) -> None:
    table = tmp_path / "transactions"
    simulation = Simulation(
        banksync_sandbox,
        lambda: delta_run(table, from_date=FIRST.isoformat(), lookback_days=LOOKBACK_DAYS),
        lambda: delta_rows(table),
        kill_delta,
        seed,
        FIRST,
    )

    simulation.run(DAYS)

    assert len(simulation.log) == DAYS
