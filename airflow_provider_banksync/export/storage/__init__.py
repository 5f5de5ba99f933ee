"""Folders, file names and locks at the destination."""
