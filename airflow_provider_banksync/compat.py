"""What differs between Airflow 2.11 and 3.x and has no name in the common.compat provider."""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["BaseTrigger", "TriggerEvent"]
