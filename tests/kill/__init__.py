"""Kills workers and triggerers of a real Airflow; ``make kills`` does it often."""
