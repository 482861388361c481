"""Callbacks: objects whose methods carry ``@hookimpl``."""
