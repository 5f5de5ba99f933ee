"""Writes rows to files: formats, storage, checkpoints, manifest. Uses neither HTTP nor Airflow."""
