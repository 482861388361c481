"""First weights that make a convolution's outputs uncorrelated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from clsfit import hookimpl
from clsfit.errors import ConfigError

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_AT_ONCE = 256  # pictures


class Whiten:
    """Sets the weights of the model's first convolution so that it whitens the pictures' patches
    (Jordan 2024, https://arxiv.org/abs/2404.00498).

    A patch is what the convolution sees at one place: C channels of h x w pixels, as the model gets them, without
    augmentation. Of all patches of some training pictures, evenly spaced in the table, it takes the means of the
    products of each two values. With eigenvalues l and eigenvectors v of this matrix, largest first, the first
    C * h * w filters are ``v / sqrt(l + eps)``, and as many more are their negatives. A bias stays as it is.

    That happens once, before step 0; a run that goes on has the weights already. Computed in float64 on the host,
    without a draw, they are the same bits on every run. Whether they are trained is the model's affair. Weights that
    ``--model.weights`` names have been trained behind other filters, so the two are refused together.

    Args:
        pictures: how many are taken, >= 1; all where there are fewer.
        eps: what keeps rare patterns from being blown up, > 0, in the unit of the squared values.
    """

    def __init__(self, pictures: int = 5000, eps: float = 5e-4) -> None:
        self.pictures, self.eps = pictures, eps
        self._done = False

    def check(self, run: Run) -> None:
        """Refuses a model whose first convolution has not the outputs that whitening gives, or is trained already."""
        if run.weights is not None:
            raise ConfigError(
                "callback 'whiten' would overwrite the first convolution of the weights that training starts from",
                "options --callback whiten and --model.weights",
                "leave one of them out",
            )
        conv = _first_convolution(run.model)
        if conv is None:
            raise ConfigError(
                "callback 'whiten' sets a model's first convolution, and this model has none",
                "option --callback whiten",
                "leave it out, or choose a model such as airbench",
            )
        needed = 2 * conv.weight[0].numel()
        if conv.groups != 1 or conv.out_channels != needed:
            high, wide = conv.weight.shape[2:]
            raise ConfigError(
                f"callback 'whiten' needs a first convolution of {needed} outputs in one group for {conv.in_channels}"
                f" channels of {high}x{wide} pixels; it has {conv.out_channels} in {conv.groups}",
                "option --callback whiten",
                "leave it out, or choose a model such as airbench",
            )

    @hookimpl(tryfirst=True)  # before anybody copies the weights, such as an average
    def on_fit_start(self, run: Run) -> None:
        if self._done or run.step > 0:
            return
        conv = _first_convolution(run.model)
        assert conv is not None  # checked
        with torch.no_grad():
            filters = whitening_filters(self._moments(run, conv), self.eps)
            conv.weight.copy_(filters.view(conv.weight.shape))
        run.ranks.level(run)  # machines of several kinds may differ in the last bit
        self._done = True

    def state_dict(self) -> dict[str, Any]:
        """Whether the weights are set."""
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._done = bool(state["done"])

    def _moments(self, run: Run, conv: torch.nn.Conv2d) -> torch.Tensor:
        """[D, D] float64 on the host: means of the products of two of a patch's D values."""
        count = min(self.pictures, len(run.train.rows))
        rows = run.train.rows[np.arange(count) * len(run.train.rows) // count]
        bounds = [(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]
        size = conv.weight[0].numel()
        sums, patches = torch.zeros(size, size, dtype=torch.float64), 0
        for batch in run.train.loader.batches(rows, bounds):
            for picture in batch.images.cpu():  # one by one: photographs have many patches, and the sum has an order
                found = functional.unfold(
                    picture.double()[None], conv.kernel_size, dilation=conv.dilation, stride=conv.stride
                )[0]
                sums += found @ found.T
                patches += found.shape[1]
        return sums / patches


def whitening_filters(moments: torch.Tensor, eps: float) -> torch.Tensor:
    """Filters whose outputs have a mean square of ``l / (l + eps)`` and are uncorrelated; and their negatives.

    Args:
        moments: [D, D] float64, symmetric: means of the products of two of a patch's D values.
        eps: > 0.

    Returns:
        [2 * D, D] float64.
    """
    values, vectors = torch.linalg.eigh(moments)
    scaled = vectors.T.flip(0) / torch.sqrt(values.flip(0).clamp_min(0.0) + eps)[:, None]
    return torch.cat([scaled, -scaled])


def _first_convolution(model: torch.nn.Module) -> torch.nn.Conv2d | None:
    return next((module for module in model.modules() if isinstance(module, torch.nn.Conv2d)), None)
