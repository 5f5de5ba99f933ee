"""Requests per minute of one API key."""
