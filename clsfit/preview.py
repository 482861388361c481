"""What a model is going to see: pictures of a run's first epoch, augmented, as they come out of the loader."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from clsfit import weights
from clsfit.build import build_run, finish_of
from clsfit.config import Config
from clsfit.data.processes import Decoders
from clsfit.data.threads import workers_of
from clsfit.engine.parts import order_of
from clsfit.engine.run import Run
from clsfit.opening import take_in_wanted
from clsfit.pipeline.finish import Finish
from clsfit.training import Control, settle

Pictures = dict[str, list[npt.NDArray[np.uint8]]]
"""Class name -> pictures, uint8 [H, W, C]."""


def preview_config(config: Config, count: int, say: Callable[[str], None]) -> Pictures:
    """The first ``count`` pictures of each class in the first epoch of the run that ``config`` says.

    They are those that training sees: the sampler's order, the augmentations' draws, crops and mixtures, at the
    input size; only the normalisation is undone. A class has fewer where the epoch has, a mixed one is in the
    row of the picture that is the first part of the mixture. Nothing is trained, and no run is written.

    Args:
        config: resolved.
        count: at least 1.
        say: told the notes on the data.

    Raises:
        ClsfitError: as ``train`` with the same configuration.
    """
    config = weights.anchored(config)
    wanted = weights.preprocessing(config)
    config = weights.adopt(config, wanted)
    settings = config.settings
    with Decoders(settings.start_method, workers_of(settings.workers)) as decoders:
        intake = take_in_wanted(config, None, accept_changes=False, strict=False, decoders=decoders, say=say)
        config = weights.adopt(config, wanted, intake.prepare.channels)
        config, reporter, device = settle(config, intake, Control(verbosity=0), None)
        run = build_run(config, intake, device, reporter, None, starts=False)
        return _seen(run, intake.table.classes, finish_of(config, intake), count)


def _seen(run: Run, classes: tuple[str, ...], finish: Finish, count: int) -> Pictures:
    order = order_of(run.sampler, 0, run.train.targets)
    targets = run.train.targets[order]
    chosen = {name: np.flatnonzero(targets == place)[:count].tolist() for place, name in enumerate(classes)}
    wanted = {position for positions in chosen.values() for position in positions}
    bounds = [b for window in run.windows for b in window.bounds if not wanted.isdisjoint(range(*b))]
    found: dict[int, npt.NDArray[np.uint8]] = {}
    batches = run.train.loader.batches(run.train.rows[order], bounds, epoch=0)
    for (start, stop), batch in zip(bounds, batches, strict=True):
        images = batch.images.permute(0, 2, 3, 1).cpu().numpy()
        for position in wanted.intersection(range(start, stop)):
            found[position] = _pixels(images[position - start], finish)
    return {name: [found[position] for position in positions] for name, positions in chosen.items()}


def _pixels(values: npt.NDArray[np.float32], finish: Finish) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, C] from what :meth:`Finish.normalise` made of it."""
    plain = values * np.array(finish.std, dtype=np.float32) + np.array(finish.mean, dtype=np.float32)
    return np.clip(np.round(plain * 255), 0, 255).astype(np.uint8)
