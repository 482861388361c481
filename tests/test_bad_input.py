"""What goes wrong ends with the code that says whose turn it is, three lines at most, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from clsfit.cli import main
from clsfit.engine.state import from_blob
from clsfit.storage import checkpoints

Command = Callable[..., str]


def fingerprint(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of change and content of a folder and of everything below it."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """``command(code, "train", ...)`` runs a command, checks its code and the form of its message, returns it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLSFIT_DEVICE", "cpu")

    def run(code: int, *arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == code, capfd.readouterr().err
        text = capfd.readouterr().err
        if code:
            message = text[text.index("clsfit: error: ") :].splitlines()
            assert len(message) <= 3, text
            assert "Traceback" not in text
        return text

    return run


@pytest.fixture
def data(pictures: Path, tmp_path: Path) -> Iterator[Path]:
    """A data set that must be as it was, in content and times, when the test ends."""
    folder = Path(shutil.copytree(pictures, tmp_path / "data"))
    before = fingerprint(folder)
    yield folder
    assert fingerprint(folder) == before


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch."""
    import clsfit

    run = tmp_path_factory.mktemp("trained") / "run"
    clsfit.train(pictures, output=run, epochs=1, verbosity=0, device="cpu")
    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("trian", "Did you mean 'train'?"),
        ("train --loss focla", "Did you mean 'focal'?"),
        ("train --metric acuracy", "Did you mean 'accuracy'?"),
        ("train --optimiser adamw", "Did you mean --optimizer?"),
        ("train --loss focal --loss.gama 2", "Did you mean --loss.gamma?"),
        ("train --loss.gamma 2", "add --loss class_balanced or --loss focal"),
        ("train --metric.f1.avrage micro", "Did you mean --metric.f1.average?"),
        ("train --metric.f1.average mean", "'macro', 'micro' or 'weighted'"),
        ("train --loss focal --loss.gamma much", "expected float >= 0"),
        ("train --epochs 2.5", "expected int >= 1"),
        ("train --resize shrt", "'short', 'stretch' or 'pad'"),
        ("train --set lss=focal", "Did you mean 'loss'?"),
        ("train --recipe defautl", "Did you mean 'default'?"),
        ("train --disable-plugin standart", "Did you mean 'standard'?"),
        ("train --callback early_stop --callback.early_stop.monitor val/accurcy", "Did you mean 'val/accuracy'?"),
        ("plugins show focall", "Did you mean 'focal'?"),
        ("plugins lst", "Did you mean 'list'?"),
    ],
)
def test_a_wrong_word_is_2_with_the_nearest_match(command: Command, arguments: str, told: str) -> None:
    assert told in command(2, *arguments.split())


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("model: mlp\nlosss: focal\n", ["run.yaml:2", "Did you mean 'loss'?"]),
        ("loss: {name: focal, gama: 2}\n", ["run.yaml:1", "Did you mean '--loss.gamma'?"]),
        ("epochs: 2\n\noptimizer: adamm\n", ["run.yaml:3", "Did you mean 'adam'?"]),
        ("epochs: many\n", ["run.yaml:1", "expected int >= 1"]),
        ("epochs: 1\nepochs: 2\n", ["run.yaml:2", "epochs"]),
        ("loss: [focal\n", ["run.yaml:"]),
        ("- loss\n", ["run.yaml:1"]),
    ],
)
def test_a_wrong_file_is_2_with_its_line(command: Command, tmp_path: Path, yaml: str, told: list[str]) -> None:
    (tmp_path / "run.yaml").write_text(yaml)
    message = command(2, "train", "-c", "run.yaml")
    for text in told:
        assert text in message


def test_a_wrong_environment_variable_is_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_BATCHSIZE", "4")
    assert "Did you mean 'CLSFIT_BATCH_SIZE'?" in command(2, "train")


def test_data_that_cannot_be_used_is_3(command: Command, drawn: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    drawn(tmp_path / "one", {"cat": 5})
    drawn(tmp_path / "hole", {"cat": 5, "dog": 4})
    (tmp_path / "hole" / "fox").mkdir()
    drawn(tmp_path / "strange", {"train/cat": 5, "train/dog": 5, "val/cat": 2, "val/wolf": 2})
    before = fingerprint(tmp_path)
    assert "'missing'" in command(3, "train", "missing")
    assert "empty" in command(3, "train", "empty")
    assert "only one class: cat" in command(3, "train", "one")
    assert "fox" in command(3, "train", "hole")
    assert "wolf" in command(3, "train", "strange")
    assert "folder" in command(3, "train", "one/cat/000.png")
    assert fingerprint(tmp_path) == before, "neither a run nor anything else was made"


def test_a_data_set_by_a_wrong_name_is_3_with_the_nearest(command: Command) -> None:
    assert "digits" in command(3, "train", "digts")


def test_corrupt_pictures_are_named_before_the_first_step(command: Command, data: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(data, tmp_path / "broken"))
    (broken / "bars" / "003.png").write_bytes(b"no picture at all")
    whole = (broken / "dots" / "001.png").read_bytes()
    (broken / "dots" / "001.png").write_bytes(whole[: len(whole) // 2])
    before = fingerprint(broken)
    message = command(3, "train", "broken", "-o", "run", "--epochs", 1)
    assert "2 pictures" in message
    assert "bars/003.png" in message
    assert "dots/001.png" in message
    assert "--skip-bad" in message
    assert not (tmp_path / "run").exists()
    said = command(0, "train", "broken", "-o", "run", "--epochs", 1, "--skip-bad")
    assert "left out 2" in said
    split = (tmp_path / "run" / "split.csv").read_text()
    assert "bars/002.png" in split
    assert "bars/003.png" not in split
    assert fingerprint(broken) == before


def test_an_unreadable_picture_is_a_row_and_3(command: Command, trained: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    message = command(3, "predict", trained, data / "bars", "bad.png", "gone.png", "-o", "p.csv")
    assert "bad.png" in message
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert len(rows) == 1 + 30 + 2
    assert rows[-2].startswith("bad.png,,,")
    assert rows[-1].startswith("gone.png,,,")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loss_that_is_not_a_number_is_6_and_keeps_the_last_good_checkpoint(
    command: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    from clsfit_standard.losses.cross_entropy import CrossEntropy

    forward, batches = CrossEntropy.forward, []

    def failing(self: CrossEntropy, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        batches.extend([1] * self.training)
        values = forward(self, logits, targets)
        return values * float("nan") if len(batches) == 5 else values

    options = ("train", data, "--optimizer", optimizer, "--batch-size", 8, "--callback.checkpoint.every_steps", 1)
    options += ("--epochs", 2, "--threads", 1, "-q")
    command(0, *options, "-o", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "forward", failing)
        message = command(6, *options, "-o", "run")
    assert "step 5 (epoch 1)" in message
    assert ".png" in message
    saved, skipped = checkpoints.newest_verified(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert (saved.step, skipped) == (4, [])
    assert all(bool(tensor.isfinite().all()) for tensor in from_blob(saved.read("model.safetensors")).values())
    assert not (tmp_path / "run" / "summary.json").exists()
    command(0, *options, "-o", "run", "--resume")  # the loss is mended: the run goes on as if nothing had been
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == (
        tmp_path / "whole" / "last.safetensors"
    ).read_bytes()


def test_a_diverging_run_is_6(command: Command, data: Path, tmp_path: Path) -> None:
    message = command(6, "train", data, "--optimizer", "sgd", "--optimizer.lr", "1e20", "-o", "run")
    assert "--optimizer.lr" in message
    saved, _ = checkpoints.newest_verified(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert all(bool(tensor.isfinite().all()) for tensor in from_blob(saved.read("model.safetensors")).values())


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "header": lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:],
    "weights": lambda raw: raw[:-300] + bytes([raw[-300] ^ 1]) + raw[-299:],
    "last byte": lambda raw: raw[:-1] + bytes([raw[-1] ^ 128]),
    "cut off": lambda raw: raw[: len(raw) // 2],
    "appended": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
    "text": lambda raw: b"this is no model file\n" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_file_is_4(command: Command, trained: Path, data: Path, tmp_path: Path, damage: str) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(DAMAGE[damage]((trained / "best.safetensors").read_bytes()))
    assert "model.safetensors" in command(4, "evaluate", model, data)
    assert "model.safetensors" in command(4, "predict", model, data, "-o", "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_no_model_at_all_is_4(command: Command, data: Path) -> None:
    command(4, "evaluate", "missing")
    command(4, "evaluate", data)
    command(4, "predict", "missing.safetensors", data)


def test_checkpoints_of_which_none_is_intact_are_4(command: Command, data: Path, tmp_path: Path) -> None:
    options = ("train", data, "--epochs", 1, "-o", "run", "-q")
    command(0, *options)
    (tmp_path / "run" / "summary.json").unlink()
    for manifest in (tmp_path / "run" / "checkpoints").glob("*/manifest.json"):
        manifest.write_text(manifest.read_text().replace("0", "1"))
    before = fingerprint(tmp_path / "run" / "checkpoints")
    assert "checkpoint" in command(4, *options, "--resume")
    assert fingerprint(tmp_path / "run" / "checkpoints") == before


def test_a_directory_that_cannot_be_written_to(command: Command, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    command(5, "train", data, "--epochs", 1, "-o", "file")
    command(5, "train", data, "--epochs", 1, "-o", "file/below")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_5(command: Command, data: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    command(5, "train", data, "--epochs", 1, "-o", "locked/run")


def test_a_directory_that_holds_a_run_is_2(command: Command, data: Path, tmp_path: Path) -> None:
    options = ("train", data, "--epochs", 1, "-o", "run", "-q")
    command(0, *options)
    before = fingerprint(tmp_path / "run")
    message = command(2, *options)
    assert "--resume" in message
    assert "--overwrite" in message
    assert fingerprint(tmp_path / "run") == before
    assert "complete" in command(0, *options[:-1], "--resume")
    command(4, *options, "--resume", "--seed", 1)  # another run than the one that is there
    (tmp_path / "run" / "notes.txt").write_text("mine")
    command(0, *options, "--overwrite")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_data_set_is_never_written_to(command: Command, data: Path, tmp_path: Path) -> None:
    command(0, "train", data, "--epochs", 1, "-o", "run", "-q", "--cache", "disk")
    command(0, "evaluate", "run", "--predictions", "p.csv")
    command(0, "predict", "run", data, "-o", "q.csv")
    command(6, "train", data, "--optimizer", "sgd", "--optimizer.lr", "1e20", "-q")
    # the fixture compares the data set's content and times


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_goes_on_by_the_same_command(
    command: Command, data: Path, tmp_path: Path, number: str, code: int
) -> None:
    arguments = ["train", str(data), "--epochs", "4", "--batch-size", "8", "--threads", "1", "--resume", "-o"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clsfit", *arguments, "run"],
        env=os.environ | {"CLSFIT_FAILPOINT": "metrics:write:stop@2"},  # it stops itself in the second epoch
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(getattr(signal, number))
    process.send_signal(signal.SIGCONT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == code, message
    assert "Traceback" not in message
    assert "--resume" in message
    assert not (tmp_path / "run" / "summary.json").exists()
    command(0, *arguments, "run")
    command(0, *arguments, "whole")
    outcomes = []
    for name in ("run", "whole"):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        clock = {"seconds", "train_images_per_second"}
        lasting = [{key: value for key, value in row.items() if key not in clock} for row in rows]
        outcomes.append((lasting, (tmp_path / name / "last.safetensors").read_bytes()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("output", [None, "shapes", "shapes/run", "shapes/../shapes/run"])
def test_the_run_directory_stays_out_of_the_data(clsfit: Any, drawn: Any, tmp_path: Path, output: str | None) -> None:
    data = drawn(tmp_path / "shapes", {"a": 4, "b": 4})
    before = sorted(data.rglob("*"))
    where = ["-o", output] if output else []
    done = clsfit(
        "train", "." if output is None else "shapes", *where, code=2, cwd=data if output is None else tmp_path
    )
    assert "outside" in done.stderr
    assert sorted(data.rglob("*")) == before


def test_one_path_is_one_picture(pictures: Path, tmp_path: Path) -> None:
    import clsfit

    run = clsfit.train(
        pictures, output=tmp_path / "run", model={"name": "mlp", "hidden": [4]}, epochs=1, batch_size=16, verbosity=0
    )
    model = clsfit.load(run.directory)
    for path in (str(pictures / "bars" / "000.png"), pictures / "bars" / "000.png"):
        (prediction,) = model.predict(path)
        assert prediction.path == str(path)
        assert prediction.error == ""
    (missing,) = model.predict("not/there.png")
    assert missing.error


def test_details_are_for_those_who_ask(clsfit: Any, pictures: Path) -> None:
    options = ["train", pictures, "--model", "mlp", "--epochs", 1, "--batch-size", 16]
    plain = clsfit(*options, "-o", "plain").stderr
    detailed = clsfit(*options, "-o", "detailed", "-v").stderr
    assert "trained parameters" in detailed
    assert "checkpoint of step 0 saved" in detailed
    assert "trained parameters" not in plain
    assert clsfit(*options, "-o", "quiet", "-q").stderr == ""


def test_a_corrupt_picture_in_evaluate(clsfit: Any, pictures: Path, drawn: Any, tmp_path: Path) -> None:
    clsfit("train", pictures, "--model", "mlp", "--epochs", 1, "-o", "run", "-q")
    data = drawn(tmp_path / "other", {"bars": 2, "dots": 2})
    (data / "bars" / "000.png").write_bytes(b"nothing")
    done = clsfit("evaluate", "run", data, code=3)
    assert "000.png" in done.stderr
    assert "--skip-bad" not in done.stderr
