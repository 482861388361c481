"""Memory is lent again when nobody holds a tensor in it, and never before."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from clsfit.pipeline.buffers import Buffers
from clsfit.pipeline.finish import Finish

SHAPE = (2, 512, 1024)  # of float32: 4 MiB


def test_memory_is_used_again_once_the_tensor_is_gone():
    buffers = Buffers()
    first = buffers.empty(SHAPE, torch.float32)
    place = first.data_ptr()
    assert (first.shape, first.dtype, first.is_contiguous()) == (SHAPE, torch.float32, True)
    del first
    assert buffers.empty(SHAPE, torch.float32).data_ptr() == place


@pytest.mark.parametrize("hold", [lambda t: t[1], lambda t: t.view(-1)[7:9], lambda t: t.numpy(), torch.Tensor.detach])
def test_memory_of_which_a_part_is_held_is_not_lent(hold):
    buffers = Buffers()
    tensor = buffers.empty(SHAPE, torch.float32)
    place, held = tensor.data_ptr(), hold(tensor)
    del tensor
    assert buffers.empty(SHAPE, torch.float32).data_ptr() != place
    del held
    assert buffers.empty(SHAPE, torch.float32).data_ptr() == place


def test_memory_that_a_backward_pass_needs_is_not_lent():
    buffers = Buffers()
    weight = torch.ones(SHAPE, requires_grad=True)
    images = buffers.empty(SHAPE, torch.float32).fill_(3.0)
    place, loss = images.data_ptr(), (weight * images).sum()
    del images
    buffers.empty(SHAPE, torch.float32).fill_(5.0)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.eq(3.0).all()
    del loss
    assert buffers.empty(SHAPE, torch.float32).data_ptr() == place


def test_small_tensors_and_other_sizes_share_nothing():
    buffers = Buffers()
    small, large = buffers.empty((4,), torch.uint8), buffers.empty(SHAPE, torch.uint8)
    other = buffers.empty((*SHAPE, 2), torch.uint8)
    for tensor, value in ((small, 1), (large, 2), (other, 3)):
        tensor.fill_(value)
    assert [int(t.unique().item()) for t in (small, large, other)] == [1, 2, 3]


def test_blocks_that_nobody_asks_for_any_more_are_let_go():
    buffers = Buffers()
    for size in range(1, 20):
        buffers.empty((size << 20,), torch.uint8)
    kept = sum(len(block) for blocks in buffers._blocks.values() for block in blocks)
    assert kept == sum(size << 20 for size in range(16, 20))


def test_threads_never_share_a_block():
    buffers, spoilt = Buffers(), []

    def work(value: int) -> None:
        for _ in range(60):
            tensor = buffers.empty((1 << 20,), torch.uint8).fill_(value)
            if not tensor.eq(value).all():
                spoilt.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spoilt == []


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (160, 224)])
def test_normalising_into_used_memory_gives_the_same_bits(memory_format, size):
    finish = Finish(size, 3, "short", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    rng, buffers = np.random.default_rng(4), Buffers()
    for count in (33, 16, 33):
        pixels = torch.from_numpy(rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
        expected = finish.normalise(pixels, memory_format)
        made = finish.normalise(pixels, memory_format, buffers)
        assert torch.equal(made, expected)
        assert made.stride() == expected.stride()
        singly = torch.cat([finish.normalise(pixels[k : k + 1], memory_format) for k in range(count)])
        assert torch.equal(singly, expected)
