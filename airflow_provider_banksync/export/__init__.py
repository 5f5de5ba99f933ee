"""Rows into files: layout, formats, manifest. Knows nothing of HTTP or of operators."""
