"""Whose fault an exception is: a component's, the machine's, or ours."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import NoReturn

from clsfit.data.decode import PictureError
from clsfit.errors import ClsfitError, DataError, PluginError
from clsfit.shortage import of_the_system, shortage


def raise_blamed(error: BaseException, packages: Mapping[str, str], *, batch_size: int | None = None) -> NoReturn:
    """Raises ``error``, as a :class:`ClsfitError` where its cause is known.

    Args:
        error: what a run or a pass ended by.
        packages: top-level package of each component in use, and its distribution with version.
        batch_size: pictures at a time, for the remedy where memory was missing.
    """
    if isinstance(error, ClsfitError) or not isinstance(error, Exception | SystemExit):  # components may call sys.exit
        raise error
    now = f" (it is {batch_size})" if batch_size is not None else ""
    if scarce := of_the_system(error) or shortage(error, f"lower --batch-size{now}, or choose a smaller model"):
        raise scarce from error
    if isinstance(error, PictureError):
        raise DataError("a picture can no longer be read", str(error), "bring the data back, and resume") from error
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    for name in reversed(frames):  # the innermost component's frame
        package = name.partition(".")[0]
        if package in packages:
            raise PluginError(
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
                f"in {name}, of {packages[package]}",
                "tell its authors, or choose another component (--debug shows the traceback)",
            ) from error
    raise error
