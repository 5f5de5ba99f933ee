"""Several requests that belong together, as sans-IO generators."""
