"""The first save of a run is loaded back: a disk or a component that loses something is found now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from clsfit.engine.checkpoint import KEEP, load, snapshot
from clsfit.engine.state import weights
from clsfit.errors import CheckpointError, PluginError
from clsfit.storage import checkpoints, durable

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_TELL = "tell the component's authors: load_state_dict must be the inverse of state_dict"


def prove(run: Run) -> None:
    """Loads the checkpoint that was just saved into the very run it was taken of, which must stay as it is.

    Raises:
        PluginError: a component cannot load its own state, or is another one afterwards.
        CheckpointError: the disk has not kept what was written.
    """
    assert run.directory is not None
    before = snapshot(run, run.sums)
    saved, skipped = checkpoints.newest_verified(run.directory.checkpoints)
    if saved is None or saved.step != run.step:
        raise CheckpointError(
            "the first checkpoint cannot be read back",
            "; ".join(f"{path.name}: {reason}" for path, reason in skipped) or str(run.directory.checkpoints),
            "check the disk, or write elsewhere with -o",
        )
    try:
        load(run, saved)
    except CheckpointError as error:
        raise PluginError(
            f"a state cannot be loaded again: {error.what}", "", "tell the component's authors"
        ) from error
    after = snapshot(run, run.sums)
    old_state, new_state = ({n: json.dumps(v) for n, v in s.state.items() if n != "logs"} for s in (before, after))
    different = [name for name in old_state if old_state[name] != new_state[name]]
    for old, new in ((before.weights, after.weights), (before.tensors, after.tensors)):
        different += [name for name in old if name not in new or not _equal(old[name], new[name])]
    if different:
        raise PluginError(
            "a state is another one after it was saved and loaded",
            f"different: {', '.join(different[:5])}",
            _TELL,
        )


def check_room(run: Run) -> None:
    """Warns where the disk seems too full for what the run is going to save.

    That is as many checkpoints as are kept at once, the optimizer's part of them as large as twice the
    weights, and the model files.
    """
    assert run.directory is not None
    size = sum(tensor.nbytes for tensor in weights(run.model, run.loss).values())
    needed, free = (KEEP + 2) * 3 * size + 3 * size, durable.free_bytes(run.directory.path)
    if free is not None and free < needed:
        run.say(f"warning: the run may need {needed:,} bytes for its checkpoints, and {free:,} are free")


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same shape and bytes; not a number is equal to itself here."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (one, other)))
