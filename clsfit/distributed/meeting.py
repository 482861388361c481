"""Where the ranks of a run meet, and how each finds out that another one is gone.

A *store* of small values is kept by rank 0, or by the launcher. Every rank counts up a value of its own there,
its beat, twice a second, and looks at the others'. So a rank that was killed, stopped or cut off is missed within
:data:`SILENT` half seconds, and sooner where a connection to it was closed. A rank that fails says so there itself.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from clsfit.distributed.launch import Place
from clsfit.distributed.store import connect
from clsfit.errors import ConfigError, ExitCode, LostPeerError

PATIENCE = 45.0
"""Seconds in which all ranks have to arrive after the first."""

SILENT = 40
"""Beats without a sign after which a rank is lost: twenty seconds."""

_UNHEARD = 1200  # beats, before its first sign: where processes are forked, a rank beats when it has read its data
_ALARMED = 8  # beats, where a connection was closed already
_BEAT = 0.5  # seconds
_REACTION = 5.0  # seconds for a rank that knows of a loss to leave by itself
_FAREWELL = 7.0  # seconds in which the others are expected to leave: a beat and their reaction, and some more
_SPEAKING = 0.5  # seconds in which a rank that has left says why
_UNKNOWN = "killed, stopped or cut off"
_RESUME = "go on by the same command with --resume"


class Meeting:
    """One rank's place in the store.

    Args:
        place: this process among the ranks.
        patience: seconds to wait for the others.
    """

    def __init__(self, place: Place, patience: float = PATIENCE) -> None:
        self.place, self._patience = place, patience
        self.where = f"{place.address}:{place.port}"
        self.store = connect(place, patience, keeps=place.rank == 0 and not place.hosted)
        self._ours = connect(place, patience)  # of the thread that watches: a store answers one question at a time
        self.lost: LostPeerError | None = None
        self._found, self._noticed, self._over = threading.Event(), threading.Event(), threading.Event()
        self._alarmed = self._silent = False
        self._beats = 0
        self._thread: threading.Thread | None = None

    def arrive(self, told: str) -> None:
        """Returns when every rank is there.

        Args:
            told: what has to be the same for all of them, with what differs in front of a line's ``:``.

        Raises:
            LostPeerError: one did not come, came twice, or counts the ranks differently.
            ConfigError: one was told something else.
        """
        place, deadline = self.place, time.monotonic() + self._patience
        with self._reaching():
            if self.store.add(f"arrived/{place.rank}", 1) > 1:
                self._over.set()  # nothing is said in the name of the one who came first
                raise LostPeerError(
                    f"two processes say that they are {place}",
                    f"they meet at {self.where}",
                    "give each its own RANK, or start them by torchrun; another run may use this MASTER_PORT",
                )
            self.store.set(f"told/{place.rank}", json.dumps([place.world_size, told]))
            while missing := [rank for rank in self._others() if not self._counts_alike(rank)]:
                if (lost := self.notice()) is not None:
                    raise lost
                if time.monotonic() > deadline:
                    raise LostPeerError(
                        f"{_ranks(missing)} of {place.world_size} did not arrive within {self._patience:.0f} s",
                        f"this is rank {place.rank}, waiting at {self.where} (MASTER_ADDR, MASTER_PORT)",
                        "start every rank, by torchrun at best, with one address, port and WORLD_SIZE",
                    )
                time.sleep(0.02)
            for rank in self._others():
                self._compare(rank, told)

    def _counts_alike(self, rank: int) -> bool:
        """Whether ``rank`` is there."""
        if not self._is_there(f"told/{rank}"):
            return False
        world_size, _ = json.loads(self.store.get(f"told/{rank}"))
        if world_size != self.place.world_size:
            raise LostPeerError(
                f"rank {rank} was started as one of {world_size}, and this is {self.place}",
                "environment WORLD_SIZE",
                "start every rank with one WORLD_SIZE, by torchrun at best",
            )
        return True

    def _compare(self, rank: int, told: str) -> None:
        _, other = json.loads(self.store.get(f"told/{rank}"))
        if other != told:
            pairs = zip(told.splitlines(), other.splitlines(), strict=False)
            parts = [mine.partition(":")[0] for mine, theirs in pairs if mine != theirs]
            error = ConfigError(
                f"rank {min(rank, self.place.rank)} and rank {max(rank, self.place.rank)} were not started alike",
                f"they differ in {', '.join(parts)}",
                "start all ranks by one command, from one folder, on files that all of them see",
            )
            error.shared = True
            raise error

    def watch(self) -> None:
        """Begins to look after the others, in a thread; fine if that was done already."""
        if self._thread is None:
            with suppress(RuntimeError):  # the thread will find out why
                self._ours.add(f"beat/{self.place.rank}", 1)  # now: until its first sign a rank is waited for long
            self._thread = threading.Thread(target=self._watch, name="clsfit-ranks", daemon=True)
            self._thread.start()
            threading.Thread(target=self._listen, name="clsfit-store", daemon=True).start()

    def whoever_is_lost(self) -> LostPeerError:
        """Why a connection was closed: waits until it is known who is gone."""
        self._alarmed = True
        self.watch()
        self._found.wait(SILENT * _BEAT + _FAREWELL)
        return self.notice() or LostPeerError(f"the connection to another rank is broken; this is {self.place}")

    def notice(self) -> LostPeerError | None:
        """What the thread has found out; whoever asks has to leave then."""
        if self.lost is not None:
            self._noticed.set()
        return self.lost

    def part(self) -> None:
        """Returns when every rank has come here: none waits for another one's connection any more."""
        with suppress(RuntimeError):
            self.store.set(f"parted/{self.place.rank}", "")
            self._await("parted")

    def leave(self, failure: str = "") -> None:
        """Ends this rank's part; the others are told of a ``failure``.

        A rank that failed, and the one that keeps the store, leave last: so the others learn why, and what
        failed is the last thing that is said.
        """
        self._noticed.set()
        if self._silent or self._over.is_set():
            self._over.set()
            return
        with suppress(RuntimeError):
            if failure:
                self._tell(self.place.rank, failure)
                self.store.set(f"ended/{self.place.rank}", failure)
                self._await("ended")
                time.sleep(_SPEAKING)
            else:
                if self.place.rank == 0 and not self.place.hosted:
                    self._await("ended")
                self.store.set(f"ended/{self.place.rank}", "done")
        self._over.set()
        if self._thread is not None:
            self._thread.join(_FAREWELL)

    def _others(self) -> list[int]:
        return [rank for rank in range(self.place.world_size) if rank != self.place.rank]

    def _is_there(self, key: str) -> bool:
        return bool(self.store.check([key]))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise LostPeerError(f"rank 0 is gone; this is {self.place}", f"it was at {self.where}", _RESUME) from error

    def _watch(self) -> None:
        seen, still = dict.fromkeys(self._others(), -1), dict.fromkeys(self._others(), 0)
        while not self._over.wait(_BEAT):
            try:
                what, why = self._look(seen, still)
            except RuntimeError:  # the store is gone, and with it whoever kept it
                if self._over.is_set():
                    return
                what, why = self._keeper(), _UNKNOWN
            self._beats += 1
            if what:
                self._declare(LostPeerError(what, f"{why}; this is rank {self.place.rank}", _RESUME))
                return

    def _listen(self) -> None:
        """Finds out that the store no longer answers: whoever keeps it is stopped, or cut off without a word."""
        seen, still = -1, 0
        while not self._over.wait(_BEAT) and self.lost is None:
            still = still + 1 if self._beats == seen else 0
            seen = self._beats
            if still >= (_ALARMED if self._alarmed else SILENT):
                self._silent = True
                self._declare(LostPeerError(self._keeper(), f"{_UNKNOWN}; this is rank {self.place.rank}", _RESUME))
                return

    def _keeper(self) -> str:
        """That whoever keeps the store is gone."""
        return "the launcher is gone" if self.place.hosted else self._missed(0)

    def _look(self, seen: dict[int, int], still: dict[int, int]) -> tuple[str, str]:
        """One beat: what is lost, empty if nothing is, and why.

        Own beats are counted, not seconds: a clock goes on while this process is stopped itself.
        """
        store = self._ours
        store.add(f"beat/{self.place.rank}", 1)
        if store.check(["first"]):
            return self._first(*json.loads(store.get("first")))
        for rank in seen:
            if store.check([f"ended/{rank}"]):
                continue
            beat = store.add(f"beat/{rank}", 0)
            still[rank] = still[rank] + 1 if beat == seen[rank] else 0
            seen[rank] = beat
            if still[rank] >= (_ALARMED if self._alarmed else SILENT if beat else _UNHEARD):
                return self._first(*self._tell(rank, ""))
        return "", ""

    def _first(self, rank: int, failure: str) -> tuple[str, str]:
        if rank == self.place.rank:
            if failure:  # it is leaving
                return "", ""
            return f"the others have taken {self.place} for lost", "it gave no sign of life"
        if failure:
            return f"rank {rank} of {self.place.world_size} has failed", "its own message says why"
        return self._missed(rank), _UNKNOWN

    def _missed(self, rank: int) -> str:
        return f"rank {rank} of {self.place.world_size} is gone"

    def _tell(self, rank: int, failure: str) -> tuple[int, str]:
        """Says that ``rank`` is the one that is gone, unless somebody said so of another before."""
        mine = json.dumps([rank, failure])
        first, failure = json.loads(self._ours.compare_set("first", "", mine))
        return first, failure

    def _await(self, key: str) -> None:
        """Waits a few seconds until every other rank that came, and is still there, has set ``key``."""
        deadline = time.monotonic() + _FAREWELL
        others = [rank for rank in self._others() if self._is_there(f"told/{rank}")]
        while time.monotonic() < deadline and not all(
            self._is_there(f"{key}/{rank}") or rank == self._gone() for rank in others
        ):
            time.sleep(0.02)

    def _gone(self) -> int | None:
        if not self.store.check(["first"]):
            return None
        rank, failure = json.loads(self.store.get("first"))
        return None if failure else rank

    def _declare(self, lost: LostPeerError) -> None:
        self.lost = lost
        self._found.set()
        if not self._noticed.wait(_REACTION):  # it waits inside a library, for a rank that will not answer
            lines = f"clsfit: error: {lost.what}\n  {lost.where}\n  {lost.remedy}\n"
            with suppress(OSError, ValueError):
                sys.stderr.write(lines)
                sys.stderr.flush()
            if not self._silent:
                with suppress(RuntimeError):
                    self._ours.set(f"ended/{self.place.rank}", "left at once")
            os._exit(ExitCode.LOST_PEER)
        if self._silent and not self._over.wait(_REACTION):  # it waits for the store, which does not answer
            os._exit(ExitCode.LOST_PEER)


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
