"""Kills workers and triggerers of a real Airflow, and exports to files; ``make kills`` does it often."""
