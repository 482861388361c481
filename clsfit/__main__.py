"""The command of this process: ``clsfit``, ``python -m clsfit``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from clsfit.cli import main


def start() -> int:
    """Runs the command that this process was started with; returns the exit code.

    It runs in UTF-8, whatever the locale. A name in a folder is bytes, and where Python takes it by a poorer
    encoding, it is another text than the one that a run's files and tables hold.
    """
    poor = os.name == "posix" and sys.getfilesystemencoding() != "utf-8"
    if poor and "utf8" not in sys._xoptions and sys.executable:
        with suppress(OSError, ValueError):  # then it goes on as it is
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    return main()


if __name__ == "__main__":
    sys.exit(start())
