"""The compute alone: training steps on one batch of random numbers that lies on the device, in channels_last.

On a GPU the best of four ways counts: as Python calls it, the whole step as a CUDA graph, the network compiled, and
both. What the second and the third need before their steps is told apart: ``capturing`` and ``compiling``, in seconds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from shared import arguments, autocast, network, report
from torch import nn, optim

given = arguments()
on_gpu = given.device != "cpu"
torch.backends.cudnn.benchmark = on_gpu
last = torch.channels_last  # the faster one of the two, here and there
model = network(given.model, 10).to(given.device, memory_format=last).train()
images = torch.randn(given.batch, 3, given.side, given.side, device=given.device).to(memory_format=last)
targets = torch.randint(10, (given.batch,), device=given.device)
optimizer = optim.SGD(model.parameters(), lr=given.lr, momentum=0.9, fused=True if on_gpu else None)
loss = nn.CrossEntropyLoss()


def stepping(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
    """A training step of the network that ``forward`` calls."""

    def step() -> None:
        optimizer.zero_grad()
        with autocast(given.device):
            value = loss(forward(images), targets)
        value.backward()
        optimizer.step()

    return step


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """``step`` as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries and the optimizer allocate what they need once; and it compiles
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def seconds_of(step: Callable[[], None], number: int) -> float:
    """What so many steps take."""
    began = time.perf_counter()
    for _ in range(number):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measured(prepare: Callable[[], Callable[[], None]]) -> dict[str, float]:
    """Pictures per second of a way, the seconds before its steps, and on a GPU the peak of its memory in MiB."""
    if on_gpu:
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    step = prepare()
    seconds_of(step, 3 if on_gpu else 0)
    found = {"preparing": time.perf_counter() - began}
    seconds_of(step, max(2, number // 4))
    seconds = seconds_of(step, (given.epochs - 1) * number)
    if on_gpu:
        found["device_peak"] = torch.cuda.max_memory_allocated() / 2**20
    return found | {"later": (given.epochs - 1) * number * given.batch / seconds}


WAYS: dict[str, Callable[[], Callable[[], None]]] = {"eager": lambda: stepping(model)}
if on_gpu:
    WAYS["graph"] = lambda: captured(stepping(model))
    WAYS["compile"] = lambda: stepping(torch.compile(model))
    WAYS["compile+graph"] = lambda: captured(stepping(torch.compile(model)))

BEFORE = {"capturing": "graph", "compiling": "compile"}

train = sum(1 for path in (given.folder / "train").rglob("*") if path.is_file())
number = -(-train // given.batch)
found: dict[str, dict[str, float]] = {}
failed: dict[str, str] = {}
for name, way in WAYS.items():
    try:
        found[name] = measured(way)
    except RuntimeError as error:  # a network may be neither captured nor compiled; the others still tell
        if name == "eager":
            raise
        failed[name] = str(error).partition("\n")[0]
best = max(found.values(), key=lambda way: way["later"])
told: dict[str, Any] = {name: way["later"] for name, way in found.items()}
told |= {key: found[name]["preparing"] for key, name in BEFORE.items() if name in found}
report(**{key: value for key, value in best.items() if key != "preparing"}, failed=failed, **told)
