"""Nothing within a step makes the host wait for the device: what would is not asked for per step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

FUSED = """
class Fused(torch.optim.SGD):
    def __init__(self, params, lr: float = 1e-2):
        super().__init__(params, lr, momentum=0.9, fused=True)
"""

WAITS = {  # each needs a value, or a size, that only the device knows
    "aten::_local_scalar_dense",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_dim",
    "aten::_unique2",
}


class Waits(TorchDispatchMode):
    """Counts operations that would wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in WAITS:
            self.found[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def waits(train: Any, pictures: Path, output: Path, batch_size: int, optimizer: str, **options: Any) -> Counter[str]:
    with Waits() as counted:
        train(
            pictures,
            output,
            model={"name": "small_cnn", "width": 4, "dropout": 0.1},
            loss="focal",
            optimizer=optimizer,
            metric=[
                *("precision", "recall", "balanced_accuracy", "top_k", "mrr", "auroc"),
                {"name": "rmse", "order": ["rings", "dots", "bars"]},
            ],
            augment=["hflip", "crop", "rotate", "random_resized_crop", "center_crop", "mixup", "cutmix"],
            callback=["clip_gradients", {"name": "accumulate", "steps": 1}],
            batch_size=batch_size,
            **options,
        )
    return counted.found


def test_more_steps_are_no_more_waits(own: Any, pictures: Path, tmp_path: Path) -> None:
    train = own(FUSED, {"optimizer": "Fused"})
    few = waits(train, pictures, tmp_path / "few", 25, "mine")  # 2 steps an epoch
    many = waits(train, pictures, tmp_path / "many", 2, "mine")  # 25
    assert many == few


@pytest.mark.parametrize(("cache", "where"), [("memory", "resident on cpu"), ("off", "stream")])
def test_pictures_cut_in_batches_are_not_waited_for(
    own: Any,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
    where: str,
) -> None:
    """As on a GPU: canvases of another size than the input's, from which the device cuts."""
    for module in ("loader", "resident"):
        monkeypatch.setattr(f"clsfit.pipeline.{module}.form_of", lambda device: "batch")
    train, options = own(FUSED, {"optimizer": "Fused"}), {"input_size": 10, "cache": cache}
    few = waits(train, pictures, tmp_path / "few", 25, "mine", **options)
    many = waits(train, pictures, tmp_path / "many", 2, "mine", **options)
    assert many == few
    log = (tmp_path / "few" / "log.txt").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in log if "input: 10x10" in line]
    assert where in line
    assert "cut in batches" in line


def test_the_count_counts(own: Any, pictures: Path, tmp_path: Path) -> None:
    """An optimizer that cannot take the flag costs a read per step, and that is seen here."""
    train = own(FUSED, {"optimizer": "Fused"})
    few = waits(train, pictures, tmp_path / "few", 25, "adamw")
    many = waits(train, pictures, tmp_path / "many", 2, "adamw")
    assert many["aten::_local_scalar_dense"] - few["aten::_local_scalar_dense"] == 2 * (25 - 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees(pictures: Path, tmp_path: Path) -> None:
    import clsfit
    from clsfit.engine import fit

    plain = fit.steps

    def strict(run: Any) -> Any:
        iterator = plain(run)
        yield next(iterator)  # the first step may load kernels and wait
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from iterator
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "steps", strict)
        clsfit.train(pictures, output=tmp_path / "run", device="cuda", epochs=2, batch_size=8, verbosity=0)
