"""``python -m airflow_provider_banksync.sandbox``."""

import sys

from airflow_provider_banksync.sandbox.control.cli import main

if __name__ == "__main__":
    sys.exit(main())
