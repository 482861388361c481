"""One tree of errors, one exit code each.

Everything that clsfit expects to go wrong is a :class:`ClsfitError`. Its message has at most three
lines: what happened, which file or option, what to do. The command line prints it without a
traceback (``--debug`` shows one) and ends with :attr:`ClsfitError.exit_code`. Any other exception is
a bug in clsfit and ends with 1.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a clsfit process ends."""

    OK = 0
    BUG = 1
    USAGE = 2
    DATA = 3
    CHECKPOINT = 4
    ENVIRONMENT = 5
    DIVERGED = 6
    LOST_PEER = 7
    PLUGIN = 8
    TARGET_MISSED = 9
    INTERRUPTED = 130
    TERMINATED = 143


class ClsfitError(Exception):
    """An expected failure.

    Args:
        what: what happened, one line.
        where: which file, option or plugin, one line; empty if ``what`` says it.
        remedy: what to do about it, one line; empty if nothing can be done.

    Attributes:
        shared: whether every rank of a run ends by this: then rank 0 says it for all.
    """

    exit_code = ExitCode.BUG
    shared = False

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__("\n".join(line for line in (what, where, remedy) if line))

    def say_first(self, who: str) -> None:
        """Puts ``who`` in front of what happened."""
        self.what = f"{who}: {self.what}"
        self.args = ("\n".join(line for line in (self.what, self.where, self.remedy) if line),)


class ConfigError(ClsfitError):
    """Wrong usage: an option, a configuration file, a component's name."""

    exit_code = ExitCode.USAGE


class DataError(ClsfitError):
    """The data set cannot be used as it is."""

    exit_code = ExitCode.DATA


class CheckpointError(ClsfitError):
    """A model file or a checkpoint is damaged, or does not fit this run."""

    exit_code = ExitCode.CHECKPOINT


class ResourceError(ClsfitError):
    """Disk, memory, rights or a device are missing."""

    exit_code = ExitCode.ENVIRONMENT


class DivergedError(ClsfitError):
    """A loss or a gradient is not finite.

    Attributes:
        step: the optimizer step, from 1; 0 if that is not known.
        pictures: the paths of its pictures.
    """

    exit_code = ExitCode.DIVERGED
    step = 0
    pictures: tuple[str, ...] = ()


class LostPeerError(ClsfitError):
    """Another rank of this run is gone, or did not come."""

    exit_code = ExitCode.LOST_PEER


class PluginError(ClsfitError):
    """A plugin that this command needs failed to load, to build, or to keep its contract."""

    exit_code = ExitCode.PLUGIN


class TargetMissedError(ClsfitError):
    """``evaluate --fail-under``: a metric is below its target."""

    exit_code = ExitCode.TARGET_MISSED


class InterruptedRunError(ClsfitError):
    """Ctrl-C, where more can be said than that: a run was saved and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class TerminatedRunError(ClsfitError):
    """SIGTERM: the run was saved and can be resumed."""

    exit_code = ExitCode.TERMINATED


def printable(text: str) -> str:
    """``text`` with control characters escaped, so that a file name cannot steer a terminal."""
    if text.isprintable():  # as nearly every one is
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
