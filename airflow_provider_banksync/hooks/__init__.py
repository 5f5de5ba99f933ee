"""The hook: an Airflow connection becomes a client of the BankSync API."""
