"""The compute alone: training steps on one batch of random numbers that lies on the device, in channels_last."""

from __future__ import annotations

import time

import torch
from shared import arguments, network, report
from torch import nn, optim

given = arguments()
last = torch.channels_last  # the faster one of the two, here and there
model = network(given.model, 10).to(given.device, memory_format=last).train()
images = torch.randn(given.batch, 3, given.side, given.side, device=given.device).to(memory_format=last)
targets = torch.randint(10, (given.batch,), device=given.device)
optimizer = optim.SGD(model.parameters(), lr=given.lr, momentum=0.9)
loss = nn.CrossEntropyLoss()


def steps(number: int) -> float:
    """Seconds that so many steps take."""
    began = time.perf_counter()
    for _ in range(number):
        optimizer.zero_grad()
        loss(model(images), targets).backward()
        optimizer.step()
    if given.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began


train = sum(1 for path in (given.folder / "train").rglob("*") if path.is_file())
number = -(-train // given.batch)
steps(max(2, number // 4))
seconds = steps((given.epochs - 1) * number)
report(later=(given.epochs - 1) * number * given.batch / seconds)
