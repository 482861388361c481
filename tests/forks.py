"""Commands in forks of a process that has imported torch once: each starts in a moment, and is a process of its own.

Most of a short command's time is torch's import. A test whose command needs nothing special of its
interpreter's start loses nothing when that is paid once. Run as a script, this is the process that forks:
``python forks.py HANDLE`` takes requests from a socket until the other end is closed.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

FREE = ("CLSFIT_", "COLUMNS", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "PYTEST_", "_TORCHINDUCTOR_")
"""What the environment of a fork may differ in. The rest is read when an interpreter or a library starts.

torch's compiler leaves a name of the last kind, and sets it anew wherever it loads what it has compiled."""

LONGEST = 1 << 20


class Forks:
    """Starts the process that forks, in ``environment``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.start()

    def start(self) -> None:
        """Starts it, in a group of its own with all its forks."""
        self.channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(other.fileno())]
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        other.close()

    def fit(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork is what a new interpreter would be in that environment."""
        names = self.environment.keys() | environment.keys()
        different = {name for name in names if self.environment.get(name) != environment.get(name)}
        return all(name.startswith(FREE) for name in different)

    def run(
        self,
        words: Sequence[str | bytes],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bytes = b"",
        timeout: float = 240,
    ) -> tuple[int, bytes, bytes]:
        """``clsfit WORDS`` in a fork: its exit code (negative: the signal that ended it), stdout and stderr."""
        assert len(stdin) < select.PIPE_BUF  # nobody writes more while the command reads
        (given, feed), (out, to_out), (err, to_err) = os.pipe(), os.pipe(), os.pipe()
        os.write(feed, stdin)
        os.close(feed)
        request = {"words": [os.fsdecode(word) for word in words], "cwd": str(cwd), "env": dict(environment)}
        self.channel.settimeout(timeout)
        socket.send_fds(self.channel, [json.dumps(request).encode()], [given, to_out, to_err])
        for handle in (given, to_out, to_err):
            os.close(handle)
        with ThreadPoolExecutor(2) as pool, open(out, "rb") as one, open(err, "rb") as other:
            said = [pool.submit(stream.read) for stream in (one, other)]
            try:
                answer = self.channel.recv(100)
                assert answer, "the process that forks has ended"
                return int(answer), said[0].result(timeout), said[1].result(timeout)
            except BaseException:  # a command hangs: it must not answer in place of the next one
                self.close()
                self.start()
                raise

    def close(self) -> None:
        """Ends that process, and a command that may hang in a fork of it."""
        self.channel.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(channel: socket.socket) -> None:
    """Answers requests, one after the other."""
    import torch  # noqa: F401
    import yaml  # noqa: F401
    from pydantic import TypeAdapter  # noqa: F401

    import clsfit.cli.predict
    import clsfit.cli.train
    import clsfit.model
    import clsfit.training  # noqa: F401

    while True:
        data, streams, *_ = socket.recv_fds(channel, LONGEST, 3)
        if not data:
            return
        child = os.fork()
        if child == 0:
            channel.close()
            become(json.loads(data), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        channel.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Turns this process into the command, to its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    sys.path.insert(0, os.getcwd())  # as python -m does
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["clsfit", *request["words"]]

    from clsfit.cli import main

    code = main()
    threading._shutdown()  # what an interpreter's end does, but for taking torch apart
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    serve(socket.socket(fileno=int(sys.argv[1])))
