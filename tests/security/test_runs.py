"""A run tells nobody's secrets, and nobody can call it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

Clsfit = Callable[..., subprocess.CompletedProcess[str]]

CANARY = "canary-5f1c3b7a"
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN")
SECRETS += ("WANDB_API_KEY", "PIP_INDEX_URL", "HTTPS_PROXY", "SSH_AUTH_SOCK", "PASSWORD", "USER", "HOSTNAME")


def test_no_secret_is_written(attacked: SimpleNamespace, clsfit: Clsfit, tmp_path: Path) -> None:
    home = tmp_path / "work"
    (home / ".git").mkdir(parents=True)
    (home / ".git" / "config").write_text(f'[remote "origin"]\n\turl = https://me:{CANARY}-git@example.org/x.git\n')
    (home / ".netrc").write_text(f"machine example.org password {CANARY}-netrc\n")
    environment = {name: f"{CANARY}-{name}" for name in SECRETS} | {
        "HOME": str(home),
        "CLSFIT_CACHE": str(tmp_path / "c"),
    }
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1, "--cache", "disk")
    said = clsfit("train", attacked.data, *small, "-o", "run", "-v", cwd=home, **environment)
    more = clsfit("evaluate", "run", "--predictions", "judged.csv", cwd=home, **environment)
    read = [*(home / "run").rglob("*"), home / "judged.csv", *(tmp_path / "c").rglob("*")]
    files = [path for path in read if path.is_file()]
    assert {"best.safetensors", "environment.json", "config.yaml", "log.txt", "state.json"} <= {p.name for p in files}
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in said.stdout + said.stderr + more.stdout + more.stderr


SLOW = """
import sys, time
from clsfit.cli import main
from clsfit_standard.losses.cross_entropy import CrossEntropy

forward = CrossEntropy.forward

def slow(self, *a):
    open("training", "w").close()
    while not __import__("os").path.exists("go"):
        time.sleep(0.02)
    return forward(self, *a)

CrossEntropy.forward = slow
sys.exit(main(sys.argv[1:]))
"""


def listening(process: int) -> list[str]:
    """The addresses on which a process waits for callers, from /proc."""
    own = set()
    for handle in Path(f"/proc/{process}/fd").iterdir():
        try:
            own.add(os.readlink(handle))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            waits = fields[3] == "0A" if table.startswith("tcp") else True
            if waits and f"socket:[{fields[9]}]" in own:
                found.append(f"{table} {fields[1]}")
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_a_training_process_listens_on_nothing(attacked: SimpleNamespace, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening(os.getpid())) == 1, "the test would see one"
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", "1", "--workers", "2", "-q", "-o", "run")
    process = subprocess.Popen([sys.executable, "-c", SLOW, "train", str(attacked.data), *small], cwd=tmp_path)
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "training").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert (tmp_path / "training").exists()
        family = [process.pid]
        for task in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(task.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == process.pid:
                family.append(int(task.parent.name))
        assert [listening(member) for member in family] == [[] for _ in family]
        (tmp_path / "go").touch()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
