"""The command of this process: ``clsfit``, ``python -m clsfit``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

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
    code = main()
    if "clsfit.distributed.meeting" in sys.modules:  # several processes have trained
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """Ends the process at once: what is to be written is written.

    torch's threads may wait for a rank that is gone, and would abort the process at the interpreter's end.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(start())
