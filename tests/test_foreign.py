"""Weights of others: what comes out of pickled files, what is refused, and downloads from a server of the test's."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import pickle
import socket
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from clsfit import downloads, foreign
from clsfit.errors import CheckpointError, ResourceError

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1.0, 2.0])}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_weights(tensors: dict[str, torch.Tensor]) -> None:
    assert list(tensors) == list(WEIGHTS)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in WEIGHTS.items())
    assert all(type(tensor) is torch.Tensor and not tensor.requires_grad for tensor in tensors.values())


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        OrderedDict(WEIGHTS),
        {name: torch.nn.Parameter(tensor) for name, tensor in WEIGHTS.items()},
        {"state_dict": WEIGHTS, "epoch": 3},
        {"optimizer": {"state": {0: {"step": torch.ones(1)}}}, "model": WEIGHTS, "model_ema": {"x": torch.ones(1)}},
        {"mine": WEIGHTS, "epoch": 3, "args": {"lr": 0.1}},
        {"model": {"state_dict": WEIGHTS}},
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        {f"module._orig_mod.{name}": tensor for name, tensor in WEIGHTS.items()},
        {f"_orig_mod.module.{name}": tensor for name, tensor in WEIGHTS.items()},
        WEIGHTS | {"epoch": 3, "note": "text", "flags": [1, 2]},
    ],
)
def test_what_comes_out(content: Any, tmp_path: Path) -> None:
    assert_weights(foreign.read_pickled(saved(tmp_path / "w.pt", content)))
    assert_weights(foreign.read(tmp_path / "w.pt"))
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_weights(foreign.read_pickled(tmp_path / "old.pth"))


def test_what_was_done_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    content = {"state_dict": {f"module.{name}": t for name, t in WEIGHTS.items()} | {"module.n": 1}, "epoch": 3}
    foreign.read_pickled(saved(tmp_path / "w.pt", content), lines.append)
    assert lines == [
        "weights found under 'state_dict', beside epoch",
        "left out what is no tensor: module.n",
        "'module.' taken off all names",
    ]


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert list(foreign.read_pickled(saved(tmp_path / "w.pt", content))) == ["module.a", "b"]


def test_safetensors_by_content(tmp_path: Path) -> None:
    safetensors.torch.save_file(
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, tmp_path / "misnamed.pt"
    )
    tensors = foreign.read(tmp_path / "misnamed.pt")
    assert {name: t.tolist() for name, t in tensors.items()} == {name: t.tolist() for name, t in WEIGHTS.items()}


class Harmful:
    """Would make a file if it were unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return open, (str(self.trap), "w")


@pytest.mark.parametrize("form", ["torch", "old", "pickle"])
def test_code_is_never_run(form: str, tmp_path: Path) -> None:
    content, path, trap = {"w": torch.ones(1), "x": Harmful(tmp_path / "trap")}, tmp_path / "w.pt", tmp_path / "trap"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"x": Harmful(trap)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(CheckpointError) as refused:
        foreign.read_pickled(path)
    assert not trap.exists()
    assert "could run any code" in refused.value.what
    assert form == "pickle" or "io.open" in refused.value.what
    assert "state_dict()" in refused.value.remedy
    assert "weights_only" not in str(refused.value), "no advice to switch the guard off"


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Linear"):
        foreign.read_pickled(saved(tmp_path / "w.pt", torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "no tensors"),
        ({"epoch": 3}, "no tensors"),
        ([torch.ones(1)], "no tensors"),
        (torch.ones(1), "no tensors"),
        ({"a": {"x": torch.ones(1)}, "b": {"y": torch.ones(1)}}, "several sets of tensors: a, b"),
        ({"x": torch.ones(1), "more": {"y": torch.ones(1)}}, "several sets of tensors: tensors by name, more"),
        ({"x": torch.ones(2, 2).to_sparse()}, "no plain tensor"),
        ({"x": torch.ones(2, dtype=torch.complex128)}, "no plain tensor"),
        ({"x": torch.ones(1).expand(1 << 20, 1 << 20)}, "stand for tensors of 4,398,046,511,104"),
    ],
)
def test_what_is_no_set_of_weights(content: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=told):
        foreign.read_pickled(saved(tmp_path / "w.pt", content))


def entangled(kind: str) -> dict[str, Any]:
    """Containers that a walk in all directions would never leave, beside the weights."""
    if kind == "dict":
        itself: dict[str, Any] = {"flags": [torch.ones(1)]}
        itself["model"] = itself
        return itself
    knot: list[Any] = [1]
    for _ in range(60):
        knot = [knot, knot]
    if kind == "list":
        knot.append(knot)
    return {"model": WEIGHTS, "args": {"knot": knot}}


@pytest.mark.parametrize("kind", ["list", "shared"])
def test_containers_may_be_entangled(kind: str, tmp_path: Path) -> None:
    assert_weights(foreign.read(saved(tmp_path / "w.pt", entangled(kind))))


def test_a_dict_that_holds_itself_is_no_set_of_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no tensors"):
        foreign.read(saved(tmp_path / "w.pt", entangled("dict")))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    """A file of a kilobyte would otherwise fill the memory."""
    whole = saved(tmp_path / "whole.pt", {"w": torch.zeros(1 << 20)})
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert (tmp_path / "w.pt").stat().st_size < 1 << 14
    with pytest.raises(CheckpointError, match="the file is compressed, to 4,"):
        foreign.read(tmp_path / "w.pt")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.95])
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files(keep: float, zipped: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.randn(500)}, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    (tmp_path / "cut.pt").write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    for read in (foreign.read, foreign.read_pickled):
        with pytest.raises(CheckpointError) as refused:
            read(tmp_path / "cut.pt")
        assert str(refused.value).count("\n") == 2
        assert "weights_only" not in str(refused.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pt", tmp_path):
        for read in (foreign.read, foreign.read_pickled):
            with pytest.raises(CheckpointError, match="cannot be read"):
                read(path)
    blob = safetensors.torch.save(WEIGHTS)
    (tmp_path / "cut.safetensors").write_bytes(blob[:-4])
    with pytest.raises(CheckpointError, match="no intact file"):
        foreign.read(tmp_path / "cut.safetensors")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and its address; torch's cache is in tmp_path."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def put(folder: Path, digits: str = "") -> str:
    """A file of weights in ``folder``, with its hash (or another) in its name, which is returned."""
    buffer = io.BytesIO()
    torch.save(OrderedDict(WEIGHTS), buffer)
    name = f"net-{digits or hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(buffer.getvalue())
    return name


def test_download(served: tuple[Path, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, address = served
    name = put(folder)
    assert_weights(foreign.download(f"{address}/{name}"))
    assert capfd.readouterr().out == "", "stdout belongs to the command's data"
    kept = tmp_path / "torch" / "hub" / "checkpoints" / name
    assert kept.read_bytes() == (folder / name).read_bytes()
    (folder / name).unlink()
    assert_weights(foreign.download(f"{address}/{name}"))
    assert_weights(foreign.download("http://127.0.0.1:1/" + name))
    with pytest.raises(ResourceError):
        foreign.download(f"{address}/{name}", directory=tmp_path / "elsewhere")


def test_a_wrong_hash_is_refused_and_not_kept(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    name = put(folder, "0123abcd")
    with pytest.raises(CheckpointError, match="not what its name says"):
        foreign.download(f"{address}/{name}")
    assert list((tmp_path / "torch" / "hub" / "checkpoints").iterdir()) == []


def test_a_corrupted_file_in_the_cache_is_found(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    name = put(folder)
    foreign.download(f"{address}/{name}")
    kept = tmp_path / "torch" / "hub" / "checkpoints" / name
    whole = bytearray(kept.read_bytes())
    whole[whole.index(torch.tensor([1.0, 2.0]).numpy().tobytes()) + 3] ^= 1  # a bit of a weight: torch would load it
    kept.write_bytes(whole)
    with pytest.raises(CheckpointError) as refused:
        foreign.download(f"{address}/{name}")
    assert refused.value.where == str(kept)
    assert refused.value.remedy.startswith("delete it")
    kept.unlink()
    assert_weights(foreign.download(f"{address}/{name}"))


@pytest.mark.parametrize("where", ["http://127.0.0.1:1", "https://nowhere.invalid", "missing"])
def test_no_network(where: str, served: tuple[Path, str], tmp_path: Path) -> None:
    url = f"{served[1] if where == 'missing' else where}/net-01234567.pth"
    with pytest.raises(ResourceError) as refused:
        foreign.download(url)
    assert "net-01234567.pth" in refused.value.what
    assert url in refused.value.where
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in refused.value.remedy
    assert "--model.weights FILE" in refused.value.remedy


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch prefers torch.export now; the files are still about
def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match="TorchScript") as refused:
        foreign.read(path)
    assert "state_dict()" in refused.value.remedy


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ResourceError, match="timed out"):
            foreign.download(f"http://127.0.0.1:{port}/x-00000000.pth", directory=tmp_path)
    assert socket.getdefaulttimeout() is None
