"""Apache Airflow provider for BankSync, the bank-data aggregation service."""

from __future__ import annotations

__version__ = "0.1.0"
