"""The command line: ``main(argv)``.

Typer parses; a command's function returns the job to do, and :func:`main` does it outside of Typer,
so that every failure takes one way: at most three lines on stderr and an exit code of
:class:`clsfit.errors.ExitCode`. Only the command that is asked for is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from clsfit.errors import ClsfitError, ExitCode, TerminatedRunError, printable
from clsfit.shortage import of_the_system, shortage

_LONGEST = 2000  # characters of a line: a name of a megabyte tells no more


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after the program's name; None: those of this process.

    Returns:
        the exit code.
    """
    _open_closed_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in _options(arguments) or os.environ.get("CLSFIT_DEBUG", "0") not in {"", "0"}
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BaseException as error:
        if debug and not isinstance(error, SystemExit | BrokenPipeError):
            import traceback

            traceback.print_exc()
        return _report(error)
    return code


def _open_closed_streams() -> None:
    """Gives a standard stream that the shell has closed (``>&-``) an empty one.

    Without it the next file that is opened would become that stream, and be written over by messages.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            empty = os.open(os.devnull, os.O_RDWR)  # the lowest free number, and those below are open by now
            if empty != number:
                os.dup2(empty, number)
                os.close(empty)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))


def _run(arguments: list[str]) -> int:
    """Parses, then does the job; returns the code of a command that needs none, such as ``--help``."""
    import gc

    gc.disable()  # a tenth of a short command's time would go into looking for garbage among new modules
    try:
        from clsfit.cli import app

        job = app.parse(arguments)
    finally:
        gc.enable()
    if isinstance(job, int):
        if job == ExitCode.INTERRUPTED:  # typer makes Ctrl-C an exit code, and says nothing
            raise KeyboardInterrupt
        return job
    _take_signals()
    try:
        job()
    except SystemExit as error:
        raise RuntimeError(f"something called sys.exit({error.code!r})") from error
    return ExitCode.OK


def _take_signals() -> None:
    """Until a run takes them over: SIGTERM ends the command in order, SIGUSR1 finds nothing to save.

    Only where they are as the system sets them; a program that calls :func:`main` keeps its own.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return

    def leave(number: int, frame: object) -> None:
        raise TerminatedRunError("terminated")

    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, leave)
    if hasattr(signal, "SIGUSR1") and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)


def _options(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments in front of a ``--``."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _report(error: BaseException) -> int:
    """Says on stderr what ended the command; returns the exit code."""
    match error:
        case BrokenPipeError():  # the reader has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK
        case SystemExit():  # shell completion ends so
            return error.code if isinstance(error.code, int) else ExitCode.OK if error.code is None else ExitCode.BUG
        case KeyboardInterrupt():
            _say("interrupted")
            return ExitCode.INTERRUPTED
        case ClsfitError():
            if error.shared and os.environ.get("RANK", "0") != "0":  # rank 0 says it for all
                return error.exit_code
            _say("error: " + error.what, error.where, error.remedy)
            return error.exit_code
    scarce = of_the_system(error) or shortage(error, "lower --batch-size, use fewer --workers, or --cache off")
    if scarce is not None:
        _say("error: " + scarce.what, scarce.where, scarce.remedy)
        return scarce.exit_code
    text = " ".join(str(error).split())
    _say(
        printable(f"bug in clsfit: {type(error).__name__}: {text}"), "", "--debug shows the traceback; please report it"
    )
    return ExitCode.BUG


def _say(what: str, *more: str) -> None:
    """``what`` after the program's name, and the other lines under it; at most three lines in all."""
    lines = [printable(" ".join(line.split("\n"))) for line in (f"clsfit: {what}", *more) if line]
    lines = [line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..." for line in lines]
    text = "\n  ".join(lines[:3]) + "\n"
    try:
        sys.stderr.write(text.encode("utf-8", "replace").decode())
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody is listening
        return


__all__ = ["main"]
