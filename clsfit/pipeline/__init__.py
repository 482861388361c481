"""From canvases to batches on the device; see :mod:`clsfit.pipeline.loader`."""

from clsfit.pipeline.augment import Augmentation
from clsfit.pipeline.batches import batch_bounds, windows
from clsfit.pipeline.finish import Finish
from clsfit.pipeline.loader import Batch, Loader

__all__ = ["Augmentation", "Batch", "Finish", "Loader", "batch_bounds", "windows"]
