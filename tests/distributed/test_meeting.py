"""Ranks that meet in one process, a thread each: who comes, who does not, and who is missed."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from clsfit.distributed import meeting
from clsfit.distributed.launch import Place
from clsfit.distributed.meeting import Meeting
from clsfit.engine.group import farewell
from clsfit.errors import ClsfitError, ConfigError, DivergedError, ExitCode, LostPeerError

TOLD = "options: 1\n-o: /here"
LIMIT = 60.0

NOBODY = ("", "")  # is lost, for no reason


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Beats ten times as fast; a rank that would leave the process notes its exit code here."""
    left: list[int] = []
    monkeypatch.setattr(meeting, "_BEAT", 0.05)
    monkeypatch.setattr(meeting, "_FAREWELL", 1.0)
    monkeypatch.setattr(meeting, "_UNHEARD", meeting.SILENT)
    monkeypatch.setattr(meeting.os, "_exit", left.append)
    return left


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def place(port: int) -> Callable[..., Place]:
    """``place(rank, world_size)``, all at one address."""
    return lambda rank, size=2, **more: Place(rank, size, rank, size, "127.0.0.1", port, **more)


@pytest.fixture
def apart() -> Iterator[Callable[..., Future[Any]]]:
    """``apart(function, ...)`` calls it in a thread."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def come(place: Place, told: str = TOLD, patience: float = 30.0) -> Meeting:
    one = Meeting(place, patience)
    one.arrive(told)
    return one


def met(apart: Callable[..., Future[Any]], place: Callable[..., Place], size: int = 2) -> list[Meeting]:
    found = [apart(come, place(rank, size)) for rank in range(size)]
    return [each.result(LIMIT) for each in found]


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def leave(apart: Callable[..., Future[Any]], *ranks: Meeting) -> None:
    for done in [apart(each.leave) for each in ranks]:
        done.result(LIMIT)


@pytest.mark.parametrize("size", [2, 4])
def test_all_arrive_beat_and_leave(apart: Any, place: Any, size: int, hasty: list[int]) -> None:
    ranks = met(apart, place, size)
    for each in ranks:
        each.watch()
        each.watch()  # once is enough
    until(lambda: all(ranks[0].store.add(f"beat/{rank}", 0) > 4 for rank in range(size)))
    assert sum(thread.name == "clsfit-ranks" for thread in threading.enumerate()) == size
    assert [each.notice() for each in ranks] == [None] * size
    leave(apart, *ranks)
    assert not any(thread.name == "clsfit-ranks" for thread in threading.enumerate())
    assert hasty == []


def test_one_that_does_not_come_is_named(apart: Any, place: Any) -> None:
    found = [apart(come, place(rank, 4), patience=0.3) for rank in (0, 2)]
    for rank, each in zip((0, 2), found, strict=True):
        with pytest.raises(LostPeerError) as raised:
            each.result(LIMIT)
        text = str(raised.value)
        assert text.startswith("ranks 1, 3 of 4 did not arrive within 0 s\n")
        assert f"this is rank {rank}" in text
        assert f"127.0.0.1:{place(0).port}" in text
        assert raised.value.exit_code == ExitCode.LOST_PEER


def test_rank_0_does_not_come(place: Any) -> None:
    with pytest.raises(LostPeerError, match=r"rank 1 of 2 cannot reach rank 0 at 127.0.0.1"):
        come(place(1), patience=0.3)


def test_a_port_in_use_is_named(place: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", place(0).port))
        other.listen()
        with pytest.raises(LostPeerError, match=f"cannot listen at 127.0.0.1:{place(0).port}: .*in use") as raised:
            come(place(0), patience=0.3)
    assert "MASTER_PORT" in raised.value.where


def test_the_store_listens_on_the_loopback_only(apart: Any, place: Any) -> None:
    ranks = met(apart, place)
    with pytest.raises(ConnectionRefusedError):  # at another address of this machine nobody answers
        socket.create_connection(("127.0.0.2", place(0).port), 5).close()
    leave(apart, *ranks)


def test_two_of_one_rank(apart: Any, place: Any) -> None:
    ranks = met(apart, place)
    second = Meeting(place(1), 1.0)
    with pytest.raises(LostPeerError, match="two processes say that they are rank 1 of 2"), farewell(second):
        second.arrive(TOLD)
    assert not ranks[0]._is_there("ended/1")  # of the first it says nothing
    leave(apart, *ranks)


def test_a_second_start_by_the_launcher_is_a_new_meeting(apart: Any, place: Any) -> None:
    ranks = met(apart, place)
    found = [apart(come, place(rank, hosted=True, attempt=1)) for rank in range(2)]
    second = [each.result(LIMIT) for each in found]
    second[0].store.set("said", "in the second")
    assert second[1].store.get("said") == b"in the second"
    assert not ranks[0].store.check(["said"])
    leave(apart, *second)
    leave(apart, *ranks)


def test_another_world_size(apart: Any, place: Any) -> None:
    found = [apart(come, place(0, 2)), apart(come, replace(place(1, 3), world_size=3), patience=2)]
    with pytest.raises(LostPeerError, match="rank 1 was started as one of 3, and this is rank 0 of 2"):
        found[0].result(LIMIT)
    with pytest.raises(LostPeerError):
        found[1].result(LIMIT)


def test_another_command_is_said_once_and_alike(apart: Any, place: Any) -> None:
    found = [apart(come, place(0), TOLD), apart(come, place(1), "options: 2\n-o: /here")]
    said = set()
    for each in found:
        with pytest.raises(ConfigError, match="rank 0 and rank 1 were not started alike") as raised:
            each.result(LIMIT)
        assert raised.value.shared
        said.add(str(raised.value))
    (text,) = said
    assert "they differ in options\n" in text


def test_a_silent_rank_is_missed(apart: Any, place: Any, hasty: list[int]) -> None:
    """Who counts no beats is lost, for all the same one; a short pause is none."""
    ranks = met(apart, place, 3)
    for each in ranks:
        each.watch()
    until(lambda: ranks[0].store.add("beat/2", 0) > 2)
    ranks[2]._over.set()  # as if it were stopped: its thread counts no more
    errors = []
    until(lambda: all(each.notice() for each in ranks[:2]))
    for rank, each in enumerate(ranks[:2]):
        error = each.notice()
        assert error is not None
        errors.append(str(error))
        assert f"this is rank {rank}" in str(error)
        assert "--resume" in str(error)
    assert all(text.startswith("rank 2 of 3 is gone\n") for text in errors)
    leave(apart, *ranks[:2])
    assert hasty == []


def test_one_that_beats_late_is_not_missed(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """39 looks without a sign are fine, 40 are not; where a connection was closed, 8 are enough."""
    with ThreadPoolExecutor() as pool:
        first, second = met(pool.submit, place)
        seen, still = {1: -1}, {1: 0}
        assert first._look(seen, still) == NOBODY
        for _ in range(3):
            for _ in range(meeting.SILENT - 1):
                assert first._look(seen, still) == NOBODY
            second.store.add("beat/1", 1)
            assert first._look(seen, still) == NOBODY
        first._alarmed = True
        looks = [first._look(seen, still) for _ in range(meeting._ALARMED)]
        assert looks == [NOBODY] * (meeting._ALARMED - 1) + [("rank 1 of 2 is gone", meeting._UNKNOWN)]
        leave(pool.submit, first, second)


def test_one_that_has_given_no_sign_yet_is_waited_for(apart: Any, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads its data: where processes are forked, no thread may beat before that."""
    monkeypatch.setattr(meeting, "_UNHEARD", 3 * meeting.SILENT)
    ranks = met(apart, place)
    seen, still = {1: -1}, {1: 0}
    assert [ranks[0]._look(seen, still) for _ in range(3 * meeting.SILENT)] == [NOBODY] * (3 * meeting.SILENT)
    assert ranks[0]._look(seen, still) == ("rank 1 of 2 is gone", meeting._UNKNOWN)
    leave(apart, *ranks)


def test_a_rank_that_watches_has_given_a_sign(apart: Any, place: Any) -> None:
    """It may be stopped before its thread's first turn."""
    ranks = met(apart, place)
    ranks[1].watch()
    assert ranks[0].store.add("beat/1", 0) >= 1
    leave(apart, *ranks)


def test_one_that_has_ended_is_not_missed(apart: Any, place: Any) -> None:
    ranks = met(apart, place)
    seen, still = {1: -1}, {1: 0}
    ranks[1].leave()
    assert [ranks[0]._look(seen, still) for _ in range(3 * meeting.SILENT)] == [NOBODY] * (3 * meeting.SILENT)
    ranks[0].leave()


def test_the_first_failure_wins(apart: Any, place: Any) -> None:
    ranks = met(apart, place, 3)
    for each in ranks:
        each.watch()
    failing = apart(ranks[1].leave, "ValueError: the cause")
    until(lambda: ranks[0].notice() and ranks[2].notice())
    assert ranks[2]._tell(0, "a later one") == (1, "ValueError: the cause")
    for rank in (0, 2):
        error = ranks[rank].notice()
        assert str(error).startswith("rank 1 of 3 has failed\nits own message says why; this is rank")
        assert ranks[rank].whoever_is_lost() is error
    leave(apart, ranks[0], ranks[2])
    failing.result(LIMIT)


def test_the_keeper_of_the_store_is_gone(apart: Any, place: Any) -> None:
    ranks = met(apart, place)
    ranks[1].watch()
    ranks[0].store = ranks[0]._ours = None  # nobody holds it: it closes
    until(ranks[1].notice)
    assert str(ranks[1].lost).startswith("rank 0 of 2 is gone\n")
    ranks[1].leave()


def test_who_waits_in_a_library_leaves_the_process(
    apart: Any, place: Any, hasty: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks rank 0's meeting: after a while its thread says why and ends the process."""
    monkeypatch.setattr(meeting, "_REACTION", 0.2)
    said = io.StringIO()
    monkeypatch.setattr(meeting.sys, "stderr", said)
    ranks = met(apart, place)
    ranks[0].watch()
    until(lambda: hasty)
    assert hasty == [ExitCode.LOST_PEER]
    assert said.getvalue().startswith("clsfit: error: rank 1 of 2 is gone\n")
    assert len(said.getvalue().splitlines()) == 3
    leave(apart, *ranks)


def test_farewell_tells_of_a_failure_of_its_own_only(apart: Any, place: Any) -> None:
    shared = DivergedError("all have it")
    shared.shared = True
    for error, what, told in (
        (None, "", None),
        (ValueError("a bug"), "a bug", [1, "ValueError: a bug"]),
        (ClsfitError("mine"), "rank 1 of 2: mine", [1, "ClsfitError: mine"]),
        (shared, "all have it", None),
        (LostPeerError("rank 0 is gone"), "rank 0 is gone", None),
        (KeyboardInterrupt(), "", [1, "KeyboardInterrupt: "]),
    ):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            at = [replace(place(rank), port=probe.getsockname()[1]) for rank in range(2)]
        ranks = [each.result(LIMIT) for each in [apart(come, each) for each in at]]
        ended = apart(end, ranks[1], error)
        until(lambda both=ranks: both[0].store.check(["ended/1"]))
        first = ranks[0].store.get("first") if ranks[0].store.check(["first"]) else None
        assert (None if first is None else json.loads(first)) == told
        ranks[0].leave()
        assert ended.result(LIMIT) == what


def end(own: Meeting, error: BaseException | None) -> str:
    try:
        with farewell(own):
            if error is not None:
                raise error
    except ClsfitError as raised:
        return raised.what
    except BaseException as raised:
        return str(raised)
    return ""
