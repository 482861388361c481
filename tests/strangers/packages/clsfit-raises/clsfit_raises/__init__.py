"""Fails at import, as a plugin does whose dependency has changed."""

raise ImportError("libmoth.so.3: cannot open shared object file\n(is libmoth installed?)")
