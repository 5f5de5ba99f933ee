"""Reads listings and the data of many accounts. Yields rows. Uses neither files nor Airflow."""
