"""Rows 22, 23 and 38: plugins that cannot be loaded, and components that run out of memory or out of numbers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clsfit.engine.state import from_blob
from clsfit.storage import checkpoints

pytestmark = pytest.mark.faults

OFFER = """
from clsfit import Component, hookimpl

@hookimpl
def clsfit_losses():
    yield Component({name!r}, "{module}_parts:Loss", "of a test")
"""

LOSS = """
import torch

class Loss(torch.nn.CrossEntropyLoss):
    soft_targets = True

    def __init__(self):
        super().__init__(reduction="none")
        self.calls = 0

    def forward(self, logits, targets):
        values = super().forward(logits, targets)
        if not self.training:
            return values
        self.calls += 1
        if self.calls != 5:
            return values
"""
FAULTS = {
    "nan": "        return values * float('nan')\n",
    "infinite": "        return values + float('inf')\n",
    "gradient": "        return values + torch.where(logits[:, 0] > 1e9, 1.0, 0.0) * 0 + (logits[:, 0] * 0).sqrt()\n",
    "cuda": "        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB')\n",
    "cpu": "        return values + torch.empty(1 << 60)\n",
    "python": "        raise MemoryError\n",
}


@pytest.fixture
def plugins(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """``plugins(name=source)``: distributions with these modules as plugins; the environment that finds them."""

    def make(**sources: str) -> dict[str, str]:
        site = tmp_path / "site"
        for name, source in sources.items():
            info = site / f"clsfit_{name}-1.5.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: clsfit-{name}\nVersion: 1.5\n")
            (info / "entry_points.txt").write_text(f"[clsfit]\n{name} = clsfit_{name}\n")
            (site / f"clsfit_{name}.py").write_text(source)
        return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    return make


@pytest.mark.parametrize("kind", ["nan", "infinite", "gradient"])
def test_row23_what_is_no_number_stops_the_run(
    fault: Any, data: Path, small: list[str], plugins: Any, tmp_path: Path, kind: str
) -> None:
    """Exit 6 before the optimizer's step: the pictures are named, the last checkpoint is good, and goes on."""
    env = plugins(bad=OFFER.format(name="bad", module="clsfit_bad"))
    parts = tmp_path / "site" / "clsfit_bad_parts.py"
    parts.write_text(LOSS + FAULTS[kind])
    command = ("train", data, *small, "--loss", "bad", "-o", "out")
    done = fault(6, *command, env=env, tells=["step 5 (epoch 2)"])
    assert re.search(r"(bars|dots|rings)/\d+\.png", done.message)
    saved, skipped = checkpoints.newest_verified(tmp_path / "out" / "checkpoints")
    assert saved is not None
    assert (saved.step, skipped) == (4, [])
    assert all(bool(tensor.isfinite().all()) for tensor in from_blob(saved.read("model.safetensors")).values())
    parts.write_text(LOSS + "        return values\n")
    fault(0, *command, "--resume", env=env)


@pytest.mark.parametrize(
    ("kind", "told"), [("cuda", ["2.00 GiB"]), ("cpu", ["bytes were asked for"]), ("python", ["out of memory"])]
)
def test_row22_out_of_memory_in_a_step(
    fault: Any, data: Path, small: list[str], plugins: Any, tmp_path: Path, kind: str, told: list[str]
) -> None:
    env = plugins(bad=OFFER.format(name="bad", module="clsfit_bad"))
    (tmp_path / "site" / "clsfit_bad_parts.py").write_text(LOSS + FAULTS[kind])
    command = ("train", data, *small, "--loss", "bad", "-o", "out")
    fault(5, *command, env=env, tells=["out of memory", "--batch-size", *told])
    saved, _ = checkpoints.newest_verified(tmp_path / "out" / "checkpoints")
    assert saved is not None
    assert saved.step == 4
    (tmp_path / "site" / "clsfit_bad_parts.py").write_text(LOSS + "        return values\n")
    fault(0, *command, "--resume", env=env)


BROKEN = {
    "imports": "import no_such_module_at_all\n",
    "exits": "import sys\nsys.exit(3)\n",
    "raises": "raise RuntimeError('broken at import')\n",
    "misspelt": "from clsfit import hookimpl\n\n@hookimpl\ndef clsfit_lossess():\n    return []\n",
    "wrong": "from clsfit import hookimpl\n\n@hookimpl\ndef clsfit_losses():\n    return [42]\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_row38_a_broken_plugin_is_a_line_to_others_and_8_to_those_who_ask(
    fault: Any, data: Path, run: Path, plugins: Any, kind: str
) -> None:
    env = plugins(**{kind: BROKEN[kind]})
    done = fault(0, "train", data, "--model", "mlp", "--epochs", "1", "--dry-run", env=env)
    lines = [line for line in done.err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert f"clsfit-{kind} 1.5" in lines[0]
    fault(8, "train", data, "--loss", f"clsfit-{kind}:focal", env=env, tells=[f"clsfit-{kind}", "1.5"])
    if kind == "exits":
        assert "warning" not in fault(0, "predict", run, data / "bars" / "000.png", env=env).err


def test_row38_one_name_twice(fault: Any, data: Path, plugins: Any, tmp_path: Path) -> None:
    sources = {name: OFFER.format(name="bad", module=f"clsfit_{name}") for name in ("first", "second")}
    sources["taken"] = OFFER.format(name="focal", module="clsfit_taken")
    env = plugins(**sources)
    for name in sources:
        (tmp_path / "site" / f"clsfit_{name}_parts.py").write_text(LOSS + "        return values\n")
    dry = ("--model", "mlp", "--epochs", "1", "--dry-run")
    fault(2, "train", data, *dry, "--loss", "bad", env=env, tells=["first", "second", "bad"])
    fault(0, "train", data, *dry, "--loss", "first:bad", env=env)
    fault(0, "train", data, *dry, "--loss", "focal", "--loss.gamma", "1", env=env)  # the bundled one wins


HANGS = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(600)\n"


def test_row38_a_plugin_that_hangs_can_be_left_and_left_out(
    fault: Any, data: Path, run: Path, plugins: Any, checked: Any, tmp_path: Path
) -> None:
    env = plugins(hangs=HANGS)
    fault(0, "predict", run, data / "bars" / "000.png", env=env)
    fault(0, "train", data, "--model", "mlp", "--epochs", "1", "--dry-run", "--disable-plugin", "hangs", env=env)
    process = subprocess.Popen(
        [sys.executable, "-m", "clsfit", "plugins", "list"], env=os.environ | env, stderr=subprocess.PIPE, cwd=tmp_path
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    for text in ("interrupted", "hangs", "clsfit-hangs 1.5", "--disable-plugin hangs"):
        assert text in said.decode()
    assert "Traceback" not in said.decode()


def test_row38_a_target_that_is_not_there_is_8_for_who_selects_it(fault: Any, data: Path, plugins: Any) -> None:
    env = plugins(bad=OFFER.format(name="bad", module="clsfit_nowhere"))
    fault(8, "train", data, "--loss", "bad", env=env, tells=["bad", "clsfit-bad 1.5"])
    fault(0, "train", data, "--model", "mlp", "--epochs", "1", "--dry-run", env=env)


def test_row38_a_data_set_that_fails_is_8_and_names_its_distribution(fault: Any, plugins: Any, tmp_path: Path) -> None:
    source = """
from clsfit import Component, hookimpl

@hookimpl
def clsfit_datasets():
    yield Component("empty", "clsfit_sets:Empty", "of a test")

class Empty:
    def table(self):
        raise KeyError("no such table")

    def read(self, row):
        return b""
"""
    tells = ["KeyError", "in clsfit_sets, of clsfit-sets 1.5", "tell its authors"]
    fault(8, "train", "empty", "-o", "out", env=plugins(sets=source), tells=tells)
    assert not (tmp_path / "out").exists()


def test_row22_the_messages_of_this_torch_are_known() -> None:
    """What torch says on a CPU is recognised; a new wording would otherwise pass for a bug."""
    from clsfit.shortage import shortage

    for error in (torch.OutOfMemoryError("CUDA error"), MemoryError()):
        assert shortage(error) is not None
    try:
        torch.empty(1 << 60)
    except RuntimeError as error:
        assert shortage(error) is not None  # noqa: PT017
    assert shortage(RuntimeError("shapes differ")) is None
    assert shortage(ImportError("No module named x")) is None
