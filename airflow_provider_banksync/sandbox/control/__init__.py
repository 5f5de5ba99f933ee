"""Starts, controls and inspects a sandbox."""
