"""The main job end to end: a family of clients synced and exported by real Airflow, on this machine.

``python -m demo`` runs it and tells what happened; ``python -m demo --ui`` leaves Airflow's web UI up afterwards.
"""
