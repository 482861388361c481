"""Rows 15, 16, 17 and 23: ranks that die, are missing, or break; item 17 of security: who can reach them.

Each rank is a process. All of them write on one standard error, as below a launcher.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clsfit.engine.state import from_blob
from clsfit.storage import checkpoints

QUICK = """
import sys
from clsfit.distributed import meeting
meeting.Meeting.__init__.__defaults__, meeting.SILENT = (10.0,), 12  # not 45 seconds, not 40 beats
from clsfit.cli import main
sys.exit(main())
"""
LISTENS = "0A"
NOTICED = 30  # seconds in which a loss is known to all
ENDS = {"kill": -9, "exit": 0, "raise": 8}

Started = Callable[..., Any]


@pytest.fixture
def broken(ranks: Started, data: Path, small: list[str], tmp_path: Path) -> Started:
    """``broken(2, "kill 1 training 5")``: ranks of which one breaks so; returned when it does."""

    def start(number: int, how: str, *more: Any, source: Any = data, epochs: int = 50, **options: Any) -> Any:
        mark = tmp_path / f"mark-{how}".replace(" ", "-")
        env = {"BREAK": how, "BREAK_MARK": str(mark)}
        loss = ("--loss", "breaking", "--epochs", str(epochs), "-o", f"out-{number}-{how}".replace(" ", "-"))
        team = ranks(number, "train", source, *small, *loss, *more, env=env, **options)
        deadline = time.monotonic() + 120
        while not mark.exists():
            assert all(process.poll() is None for process in team.processes), team.said
            assert time.monotonic() < deadline, "nothing breaks"
            time.sleep(0.01)
        return team

    return start


def messages(said: str) -> list[str]:
    """The errors of all ranks in order; nothing else is said, and each has two or three lines."""
    lines = said.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("clsfit: error: ")]
    found = [lines[start:stop] for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True)]
    assert sum(map(len, found)) == len(lines), said
    assert all(2 <= len(each) <= 3 for each in found), said
    assert all(line.startswith("  ") for each in found for line in each[1:]), said
    return ["\n".join(each) for each in found]


def all_miss(team: Any, number: int, rank: int, action: str) -> None:
    """The others end with 7 in time, each says which rank it misses; the reason is said once, and last."""
    stops = {rank} if action == "stop" else set()
    codes = team.codes(NOTICED, but=stops)
    assert codes == [(None if stops else ENDS[action]) if each == rank else 7 for each in range(number)], team.said
    said = messages(team.said)
    if action == "raise":
        assert f"rank {rank} of {number}: RuntimeError: broken in" in said.pop(), team.said
        assert not [text for text in said if "broken in" in text]
    assert len(said) == number - 1, team.said
    for text in said:
        ending = "has failed" if action == "raise" else "is gone"
        assert text.startswith(f"clsfit: error: rank {rank} of {number} {ending}\n"), team.said
        assert "--resume" in text
    named = sorted(int(found[1]) for text in said if (found := re.search(r"this is rank (\d+)", text)))
    assert named == [each for each in range(number) if each != rank], team.said


def deaths() -> list[Any]:
    """Each way to die, of the first rank and another, of two and of four; two of them by default."""
    made = [(2, 0, "kill"), (2, 1, "kill"), (2, 1, "exit"), (2, 0, "raise"), (2, 1, "raise")]
    made += [(4, 2, "kill"), (4, 0, "exit"), (4, 3, "raise")]
    quick = {(2, 0, "kill"), (2, 1, "raise")}
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.faults) for case in made]


@pytest.mark.parametrize(("number", "rank", "action"), deaths())
def test_row15_a_rank_that_dies_in_training_is_missed(broken: Started, number: int, rank: int, action: str) -> None:
    all_miss(broken(number, f"{action} {rank} training 5"), number, rank, action)


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
def test_row15_a_rank_that_is_stopped_is_missed(broken: Started, rank: int) -> None:
    """Rank 0 keeps the store in which ranks look for each other: it no longer answers then."""
    all_miss(broken(2, f"stop {rank} training 5", script=QUICK), 2, rank, "stop")


@pytest.mark.faults
def test_row15_workers_end_with_their_rank(broken: Started) -> None:
    more = ("--start-method", "spawn", "--workers", "2", "--cache", "off")
    all_miss(broken(2, "kill 1 training 5", *more), 2, 1, "kill")


@pytest.mark.slow
@pytest.mark.faults
def test_rows_15_and_16_by_the_waits_as_they_are(broken: Started, ranks: Started, data: Path, small: list[str]) -> None:
    """All at once: two runs with a rank that is stopped, two with one that dies before they meet for training."""
    missing = ranks(3, "train", data, *small, "-o", "out", only=(0, 2))
    while missing.port not in ports(missing.processes[0].pid):
        assert missing.processes[0].poll() is None, missing.said
        time.sleep(0.05)
    began = time.monotonic()
    early = [broken(2, f"{action} {rank} data 1", source="breaking") for rank, action in ((1, "kill"), (0, "stop"))]
    late = [broken(2, "stop 1 training 5"), broken(4, "stop 0 training 5")]
    for team, number, rank, action in (
        (early[0], 2, 1, "kill"),
        (early[1], 2, 0, "stop"),
        (late[0], 2, 1, "stop"),
        (late[1], 4, 0, "stop"),
    ):
        all_miss(team, number, rank, action)
    assert missing.codes(within=60 - (time.monotonic() - began)) == [7, 7]
    assert "rank 1 of 3 did not arrive within 45 s" in missing.said


@pytest.mark.faults
@pytest.mark.parametrize("absent", [0, 2])
def test_row16_a_rank_that_never_comes_is_named(
    ranks: Started, data: Path, small: list[str], tmp_path: Path, absent: int
) -> None:
    there = [rank for rank in range(3) if rank != absent]
    team = ranks(3, "train", data, *small, "-o", "out", only=there, script=QUICK)
    assert team.codes() == [7, 7]
    for text in messages(team.said):
        assert f"127.0.0.1:{team.port}" in text
        assert "rank 2 of 3 did not arrive" in text or (absent == 0 and "cannot reach rank 0" in text), team.said
    assert not (tmp_path / "out").exists()


@pytest.mark.faults
def test_row16_a_port_that_is_taken(ranks: Started, data: Path, small: list[str]) -> None:
    """By a program that says nothing, so that the other ranks find somebody there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        team = ranks(2, "train", data, *small, "-o", "out", port=port, script=QUICK)
        assert team.codes() == [7, 7]
    first, second = messages(team.said)
    assert f"cannot listen at 127.0.0.1:{port}: address already in use" in first
    assert "MASTER_PORT" in first
    assert f"rank 1 of 2 cannot reach rank 0 at 127.0.0.1:{port}" in second


@pytest.mark.parametrize("wrong", [0, pytest.param(1, marks=pytest.mark.faults)])
def test_row16_ranks_that_count_differently(ranks: Started, data: Path, small: list[str], wrong: int) -> None:
    sizes = {wrong: {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}}
    team = ranks(2, "train", data, *small, "-o", "out", of=sizes)
    assert team.codes(within=30) == [7, 7]  # the third that the one waits for would take longer
    assert all("WORLD_SIZE" in text or "rank 0 is gone" in text for text in messages(team.said)), team.said
    assert f"rank {wrong} was started as one of 3, and this is rank {1 - wrong} of 2" in team.said


@pytest.mark.faults
@pytest.mark.parametrize("twice", [0, 1])
def test_row16_one_rank_twice(ranks: Started, data: Path, small: list[str], twice: int) -> None:
    team = ranks(3, "train", data, *small, "-o", "out", of={2: {"RANK": str(twice)}}, script=QUICK)
    assert team.codes() == [7, 7, 7]
    told = f"two processes say that they are rank {twice} of 3" if twice else "address already in use"
    assert [told in text for text in messages(team.said)].count(True) == 1, team.said


@pytest.mark.parametrize(
    ("more", "differs"),
    [(["--optimizer.lr", "0.5"], "options"), pytest.param(["-o", "elsewhere"], "-o", marks=pytest.mark.faults)],
)
def test_row16_another_command_on_another_rank(
    ranks: Started, data: Path, small: list[str], tmp_path: Path, more: list[str], differs: str
) -> None:
    team = ranks(2, "train", data, *small, "-o", "out", also={1: more})
    assert team.codes(within=30) == [2, 2]
    (said,) = messages(team.said)
    assert "rank 0 and rank 1 were not started alike" in said
    assert f"they differ in {differs}" in said
    assert not list(tmp_path.glob("*/config.yaml"))


@pytest.mark.parametrize(
    ("number", "rank", "where"),
    [
        (2, 1, "validation 3"),
        pytest.param(2, 0, "validation 3", marks=pytest.mark.faults),
        pytest.param(2, 1, "compute 2", marks=pytest.mark.faults),
        pytest.param(4, 2, "compute 2", marks=pytest.mark.faults),
    ],
)
def test_row17_an_exception_in_validation_is_told_once_and_last(
    broken: Started, number: int, rank: int, where: str
) -> None:
    """In the loss of a rank's own batches, and in a metric that every rank computes of all."""
    more = ("--metric", "breaking", "--val-fraction", "0.5")  # two batches to judge
    all_miss(broken(number, f"raise {rank} {where}", *more), number, rank, "raise")


@pytest.mark.faults
def test_row23_no_number_on_one_rank_stops_all(
    broken: Started, ranks: Started, data: Path, small: list[str], tmp_path: Path
) -> None:
    """Exit 6 before the step on every rank; rank 0 alone says so, and names the pictures of all."""
    team = broken(2, "nan 1 training 5", epochs=3)
    assert team.codes(NOTICED) == [6, 6], team.said
    (said,) = messages(team.said)
    step = int(re.findall(r"not finite at step (\d+) \(epoch 2\)", said)[0])
    (out,) = tmp_path.glob("out-*")
    (line,) = [line for line in (out / "log.txt").read_text().splitlines() if "not finite" in line]
    assert len(set(re.findall(r"(?:bars|dots|rings)/\d+\.png", line))) == 16
    assert len(re.findall(r"(?:bars|dots|rings)/\d+\.png", said)) == 8
    saved, skipped = checkpoints.newest_verified(out / "checkpoints")
    assert saved is not None
    assert skipped == []
    assert saved.step == step - 1
    assert all(bool(tensor.isfinite().all()) for tensor in from_blob(saved.read("model.safetensors")).values())
    again = ranks(2, "train", data, *small, "--loss", "breaking", "--epochs", "3", "-o", out, "--resume")
    assert again.codes() == [0, 0], again.said


def test_ranks_of_one_machine_listen_on_its_loopback_only(broken: Started) -> None:
    team = broken(2, "stop 1 training 5")  # all connections are there by then
    addresses = {process.pid: listening(process.pid) for process in team.processes}
    assert all(addresses.values()), addresses
    assert all(address.is_loopback for found in addresses.values() for address in found), addresses
    assert team.port in ports(team.processes[0].pid)


def sockets(pid: int) -> list[tuple[str, str]]:
    """Address and port, in hexadecimal, of each TCP socket on which the process listens."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(path))
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENS and inode in inodes:
                found.append((local.partition(":")[0], local.partition(":")[2]))
    return found


def listening(pid: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The kernel writes an address as words of four bytes, each in the machine's own order."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for address, _ in sockets(pid):
        words = [bytes.fromhex(address[place : place + 8])[::-1] for place in range(0, len(address), 8)]
        packed = ipaddress.ip_address(b"".join(words))
        mapped = packed.ipv4_mapped if isinstance(packed, ipaddress.IPv6Address) else None
        found.append(mapped or packed)
    return found


def ports(pid: int) -> set[int]:
    return {int(port, 16) for _, port in sockets(pid)}
