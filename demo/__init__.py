"""The main job from end to end: a real Airflow syncs and exports a family of clients on this machine.

``python -m demo`` runs the job and prints a summary. ``python -m demo --ui`` then keeps Airflow's web UI running.
"""
