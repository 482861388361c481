"""Where several processes train one run: they meet before it begins, and find out whether they were started alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clsfit.config import Config
from clsfit.distributed import launch
from clsfit.errors import ConfigError
from clsfit.resume import Record
from clsfit.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from clsfit.distributed.meeting import Meeting


def check_batch_size(batch_size: int, world_size: int) -> None:
    """Refuses a batch of which a rank would get a single picture.

    Raises:
        ConfigError: it is too small.
    """
    if batch_size < 2 * world_size:
        raise ConfigError(
            f"a batch of {batch_size} cannot be divided among {world_size} ranks",
            f"option --batch-size {batch_size}",
            f"give at least {2 * world_size}, two pictures for each, or start fewer processes",
        )


@contextmanager
def met(
    place: launch.Place | None, config: Config, directory: RunDirectory, record: Record | None, *, waits: bool
) -> Iterator[Meeting | None]:
    """The meeting of the ranks, told in the end how this one's part went; None where there is one process.

    Args:
        place: this process among the ranks; None: there is one process.
        config, directory, record: of the run; all ranks must have the same.
        waits: whether processes are to be forked, before which no thread may be started.
    """
    if place is None:
        yield None
        return
    from clsfit.distributed.meeting import Meeting
    from clsfit.engine.group import farewell

    meeting = Meeting(place)
    with farewell(meeting):
        if not waits:
            meeting.watch()
        meeting.arrive(_to_be_alike(config, directory, record))
        yield meeting


def _to_be_alike(config: Config, directory: RunDirectory, record: Record | None) -> str:
    """What must not differ between ranks, a line each: name, colon, value."""
    recorded = (
        "none" if record is None else hashlib.sha256(repr(sorted(record.environment.items())).encode()).hexdigest()
    )
    return "\n".join(
        [
            f"options: {hashlib.sha256(config.to_yaml().encode()).hexdigest()}",
            f"-o: {directory.path.absolute()}",
            f"the run that is there already: {recorded}",
        ]
    )
