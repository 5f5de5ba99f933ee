"""Writes rows to tables that converge on what the API answers. Imports no Airflow and sends no request."""
