"""An exception is blamed on whoever caused it."""

from __future__ import annotations

import pytest

from clsfit.data.decode import PictureError
from clsfit.engine.blame import raise_blamed
from clsfit.errors import DataError


def test_a_picture_that_went_bad_during_the_run_is_the_data_s_fault() -> None:
    with pytest.raises(DataError, match="truncated") as caught:
        raise_blamed(PictureError("the file is truncated"), {})
    assert caught.value.exit_code == 3
