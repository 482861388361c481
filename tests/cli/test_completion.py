"""What bash, zsh and fish are offered after <TAB>."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def words(line: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("_CLSFIT_COMPLETE", f"complete_{shell}")
        if shell == "bash":
            monkeypatch.setenv("COMP_WORDS", line)
            monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        else:
            monkeypatch.delenv("COMP_WORDS", raising=False)
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
            monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        done = run()
        assert done.err == ""
        return [line for line in done.out.splitlines() if line]

    return words


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("clsfit tr", ["train"]),
        ("clsfit train --loss l", ["label_smoothing", "ldam", "logit_adjusted"]),
        ("clsfit train --loss fo", ["focal"]),
        ("clsfit train --loss focal --loss.", ["--loss.gamma", "--loss.class_weights"]),
        ("clsfit train --loss.", ["--loss.class_weights"]),
        ("clsfit train --metric f1 --metric.f1.average m", ["macro", "micro"]),
        ("clsfit train --metric acc", ["accuracy"]),
        ("clsfit train --metric no", ["none"]),
        ("clsfit train --epo", ["--epochs"]),
        ("clsfit train --resize s", ["short", "stretch"]),
        ("clsfit train --device c", ["cpu", "cuda"]),
        ("clsfit train --group ", ["parent"]),
        ("clsfit train --split-by ", ["ratio", "folder"]),
        ("clsfit train --label-c", ["--label-column"]),
        ("clsfit train --recipe d", ["default"]),
        ("clsfit train dig", ["digits"]),
        ("clsfit ben", ["bench"]),
        ("clsfit bench --loss focal --loss.", ["--loss.gamma", "--loss.class_weights"]),
        ("clsfit bench --sec", ["--seconds"]),
        ("clsfit bench --res", ["--resize"]),
        ("clsfit plugins show foc", ["focal"]),
        ("clsfit plugins list --kind opt", ["optimizer"]),
        ("clsfit evaluate m --split t", ["train", "test"]),
        ("clsfit evaluate m --split-by ", ["folder"]),
        ("clsfit train --loss nothing --epo", ["--epochs"]),
        ("clsfit train -c nowhere.yaml --epo", ["--epochs"]),
        ("clsfit train --batch_size 8 --loss focal dig", ["digits"]),  # 8 and focal are no DATA
        ("clsfit train --epochs 2 --epo", []),
        ("clsfit train --metric f1 --metri", ["--metric", "--metric.f1.average", "--metric.f1.zero_division"]),
        ("clsfit train --no-plu", ["--no-plugins"]),
        ("clsfit train --loss focal --los", ["--loss.gamma", "--loss.class_weights"]),
        ("clsfit train --metric f1 --metric.f1.average ", ["macro", "micro", "weighted"]),
        ("clsfit ", ["train", "evaluate", "predict", "data", "bench", "import", "plugins", "config"]),
        ("clsfit data ", ["check", "split", "preview"]),
        ("clsfit data check --h", ["--html", "--help"]),
        ("clsfit data split --group ", ["parent"]),
        ("clsfit data split --split-by ", ["ratio", "folder"]),
        ("clsfit data check --spl", ["--split-by"]),
        ("clsfit --vers", ["--version"]),
    ],
)
def test_bash(line: str, offered: list[str], complete: Any) -> None:
    assert complete(line) == offered


def test_data_completes_to_folders_too(complete: Any, tmp_path: Path) -> None:
    (tmp_path / "photos" / "big").mkdir(parents=True)
    # without plugins: a data set of one that is installed here would be offered too
    assert complete("clsfit train --no-plugins ") == ["digits", "photos/"]
    assert complete("clsfit train photos/") == ["photos/big/"]


def test_the_files_on_the_line_are_read(complete: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("loss: focal\n")
    assert complete("clsfit train -c a.yaml --loss.") == ["--loss.gamma", "--loss.class_weights"]


def test_fish_shows_help(complete: Any) -> None:
    offered = complete("clsfit train --loss fo", "fish")
    assert offered == ["focal\tcross entropy that looks less at easy samples"]


def test_zsh_shows_help_on_one_line(complete: Any) -> None:
    offered = complete("clsfit train --loss focal --loss.", "zsh")
    assert len(offered) == 2
    assert '"--loss.gamma":"' in offered[0]
    assert "[dim]" not in offered[0]
