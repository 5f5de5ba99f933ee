"""Wait until a bank's connection works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sensors.base import BankSyncSensor
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence


class BankSyncBankConnectedSensor(BankSyncSensor):
    """Wait until a bank is connected: a new bank, or one whose owner must sign in again.

    Returns the bank (a dict). The log says why it is not connected, and which client must sign in. That takes a person
    hours or days, so use ``mode="reschedule"`` or ``deferrable=True``, a ``poke_interval`` of minutes and a ``timeout``
    of days. `BankSyncSensor` lists the ways to wait.

    :param bank_id: the bank (templated).
    """

    template_fields: Sequence[str] = ("bank_id", "workspace_id", "banksync_conn_id")
    ui_color = "#dcefe6"
    _trigger_path = "airflow_provider_banksync.triggers.sensors.BankSyncBankConnectedTrigger"

    def __init__(self, *, bank_id: str, start_from_trigger: bool = False, **kwargs: Any) -> None:
        super().__init__(start_from_trigger=start_from_trigger, **kwargs)
        validate_literal_arguments(bank_id=bank_id)
        self.bank_id = bank_id
        self._start_from_trigger(start_from_trigger)

    def _trigger_arguments(self) -> dict[str, Any]:
        return {"bank_id": self.bank_id}
