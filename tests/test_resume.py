"""What a record of a run lets change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsfit.errors import CheckpointError, ExitCode
from clsfit.resume import Record
from clsfit.storage.rundir import RunDirectory


@pytest.mark.parametrize(("environment", "same"), [({"ranks": 3}, 3), ({"ranks": 1}, 1), ({}, 1)])
def test_another_number_of_ranks_has_to_be_accepted(tmp_path: Path, environment: dict[str, Any], same: int) -> None:
    """A record of before there were ranks is of one process."""
    for accept in (False, True):
        record = Record(RunDirectory(tmp_path), [], environment)
        record.check_ranks(same, accept)
        assert not record.changed
    for other in (1, 2, 4):
        record = Record(RunDirectory(tmp_path), [], environment)
        if other == same:
            continue
        with pytest.raises(CheckpointError, match="another number of processes") as raised:
            record.check_ranks(other, accept=False)
        assert raised.value.exit_code == ExitCode.CHECKPOINT
        assert raised.value.where == f"ranks: {same} -> {other}"
        assert "--accept-changes" in raised.value.remedy
        assert not record.changed
        record.check_ranks(other, accept=True)
        assert record.changed
