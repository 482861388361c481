"""Functions in several processes at once, each a rank of one run, forked from a process that has imported torch once.

Run as a script, this is the process that forks: ``python ranks.py HANDLE FOLDER`` takes requests from a socket until
the other end is closed. The functions are those of the folder's modules, which it imports before it forks; it calls
what of them is named ``prepare``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

LONGEST = 1 << 20


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Team:
    """Calls functions of the modules in ``source`` in ranks, which leave their words and answers in ``folder``."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder, self.calls = source, folder, 0
        self.start()

    def start(self) -> None:
        """Starts the process that forks, in a group of its own with all its forks."""
        self.channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(other.fileno()), str(self.source)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        other.close()

    def __call__(self, function: str, world_size: int, *, timeout: float = 120, **arguments: Any) -> list[Any]:
        """What ``function``, "module.name", returns on each rank, through JSON; 1 rank is a process alone."""
        self.calls += 1
        folder = self.folder / str(self.calls)
        folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if name.startswith("CLSFIT_")}
        request = {
            "function": function,
            "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()},
            "ranks": [environment | place(rank, world_size) for rank in range(world_size)],
            "port": free_port(),
            "folder": str(folder),
        }
        self.channel.settimeout(timeout)
        try:
            self.channel.sendall(json.dumps(request).encode())
            codes = json.loads(self.channel.recv(LONGEST))
        except BaseException:  # a rank hangs: it must not answer in place of the next one
            self.close()
            self.start()
            raise AssertionError(f"{function} in {world_size} ranks: no answer\n{self._said(folder)}") from None
        assert not any(codes), f"{function} in {world_size} ranks: exit codes {codes}\n{self._said(folder)}"
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world_size)]

    def _said(self, folder: Path) -> str:
        return "\n".join(f"rank {file.stem}: {file.read_text()[-3000:]}" for file in sorted(folder.glob("*.txt")))

    def close(self) -> None:
        """Ends that process, and ranks that may hang."""
        self.channel.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def place(rank: int, world_size: int) -> dict[str, str]:
    """The variables that a launcher sets, but for the port."""
    if world_size == 1:
        return {}
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
    }


def serve(channel: socket.socket, source: Path) -> None:
    """Answers requests, one after the other, with the ranks' exit codes."""
    sys.path.insert(0, str(source))
    for file in sorted(source.glob("*.py")):
        getattr(importlib.import_module(file.stem), "prepare", lambda: None)()
    while data := channel.recv(LONGEST):
        request = json.loads(data)
        children = []
        for rank, environment in enumerate(request["ranks"]):
            child = os.fork()
            if child == 0:
                channel.close()
                os.environ.update(environment | {"MASTER_PORT": str(request["port"])})
                module, _, name = request["function"].partition(".")
                function = getattr(sys.modules[module], name)
                become(function, request["arguments"], Path(request["folder"]), rank)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        channel.sendall(json.dumps(codes).encode())


def become(function: Any, arguments: dict[str, Any], folder: Path, rank: int) -> NoReturn:
    """Turns this process into one rank, to its end."""
    words = os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(words, 1)
    os.dup2(words, 2)
    code = 1
    try:
        (folder / f"{rank}.json").write_text(json.dumps(function(**arguments)))
        threading._shutdown()
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
