"""Benchmarks. Each file is a script; `make help` lists the commands."""
