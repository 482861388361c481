"""Several processes, the ranks, that train one run together."""
