"""``python -m clsfit``."""

from __future__ import annotations

import sys

from clsfit.cli import main

if __name__ == "__main__":
    sys.exit(main())
