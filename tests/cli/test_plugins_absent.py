"""A plugin that is switched off and not there: fine in a standing setting, a mistake in an option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("command", [["plugins", "list"], ["train", "--dry-run", "--model", "mlp"]])
def test_a_standing_setting_may_name_an_absent_plugin(clsfit: Any, command: list[str]) -> None:
    done = clsfit(*command, CLSFIT_DISABLE_PLUGINS="clsfit-elsewhere")
    assert "elsewhere" not in done.stderr


def test_a_file_may_too(clsfit: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("disable_plugins: [clsfit-elsewhere]\n")
    done = clsfit("train", "-c", "base.yaml", "--print-config")
    assert "clsfit-elsewhere" in done.stdout  # the setting stays, for machines that have the plugin


@pytest.mark.parametrize("command", [["plugins", "list"], ["train", "--print-config"]])
def test_an_option_may_not(clsfit: Any, command: list[str]) -> None:
    done = clsfit(*command, "--disable-plugin", "standart", code=2)
    assert "standart" in done.stderr
    assert "Did you mean 'standard'?" in done.stderr
