"""Standard output where it is a file is written on, whosever the file is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ON = """
import os, sys
from pathlib import Path
from clsfit.storage.stream import is_stream, write_stream
if len(sys.argv) > 1:
    os.setuid(int(sys.argv[1]))
assert is_stream(Path("/dev/stdout"))
write_stream(Path("/dev/stdout"), [b"one ", b"two"])
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's /dev/stdout is meant")


def written(target: Path, mode: str, *words: str) -> bytes:
    with target.open(mode) as file:
        os.chmod(target, 0o600)
        done = subprocess.run([sys.executable, "-c", ON, *words], stdout=file, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return target.read_bytes()


def test_what_stands_in_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"zero ")
    assert written(tmp_path / "out", "ab") == b"zero one two"
    assert written(tmp_path / "out", "wb") == b"one two"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
def test_the_file_of_another_user_is_open_already(tmp_path: Path) -> None:
    assert written(tmp_path / "out", "wb", "65534") == b"one two"
