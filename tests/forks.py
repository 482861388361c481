"""Commands in forks of a process that has imported torch once: each starts in a moment, and is a process of its own.

Most of a short command's time is torch's import. A test whose command needs nothing special of its
interpreter's start loses nothing when that is paid once. Run as a script, this is the process that forks:
``python forks.py HANDLE`` takes requests from a socket until the other end is closed.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FREE = ("CLSFIT_", "COLUMNS", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "PYTEST_")
"""What the environment of a fork may differ in. The rest is read when an interpreter or a library starts."""

LONGEST = 1 << 20


class Forks:
    """Starts the process that forks, in ``environment``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(other.fileno())]
        self.process = subprocess.Popen(
            command, env=self.environment, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
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
            code = int(self.channel.recv(100))
            return code, said[0].result(), said[1].result()

    def close(self) -> None:
        """Ends that process."""
        self.channel.close()
        self.process.kill()  # it has nothing to lose, and may still wait for a command that hangs
        self.process.wait()


def serve(channel: socket.socket) -> None:
    """Answers requests, one after the other."""
    import torch  # noqa: F401

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


def become(request: dict[str, object], streams: list[int]) -> None:
    """Turns this process into the command, to its end."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(str(request["cwd"]))
        sys.path.insert(0, os.getcwd())  # as python -m does
        os.environ.clear()
        os.environ.update(request["env"])  # type: ignore[call-overload]
        sys.argv = ["clsfit", *request["words"]]  # type: ignore[misc]

        from clsfit.cli import main

        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 120  # as an interpreter ends that cannot flush
        os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    serve(socket.socket(fileno=int(sys.argv[1])))
