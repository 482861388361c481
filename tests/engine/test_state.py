"""States as JSON and tensors, and tensors as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clsfit.engine.state import attributes, check_kinds, flatten, from_blob, restore_attributes, to_blob, unflatten
from clsfit.errors import PluginError

leaves = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.text(max_size=5) | st.integers(0, 9)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_round_trip(value: object) -> None:
    text = json.dumps(flatten(value, "thing", {}))
    back = unflatten(json.loads(text), {})
    assert back == value
    assert repr(back) == repr(value)  # tuples stay tuples, integers stay keys


def test_tensors_are_moved_out() -> None:
    tensors: dict[str, torch.Tensor] = {}
    state = {"state": {0: {"momentum": torch.arange(3), "step": 2}}, "param_groups": [{"betas": (0.9, 0.99)}]}
    flat = json.loads(json.dumps(flatten(state, "optimizer", tensors)))
    assert list(tensors) == ["optimizer.state.0.momentum"]
    back = unflatten(flat, from_blob(to_blob(tensors)))
    assert torch.equal(back["state"][0]["momentum"], torch.arange(3))
    assert back["param_groups"] == state["param_groups"]


def test_paths_that_look_alike_stay_apart() -> None:
    state = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1), "list": [torch.full((1,), 2.0)], "list.0": torch.ones(2)}
    tensors: dict[str, torch.Tensor] = {}
    flat = json.loads(json.dumps(flatten(state, "thing", tensors)))
    back = unflatten(flat, from_blob(to_blob(tensors)))
    assert [back["a"]["b"].item(), back["a.b"].item(), back["list"][0].item()] == [0, 1, 2]
    assert back["list.0"].tolist() == [1, 1]


@pytest.mark.parametrize("wrong", [object(), {1.5: 2}, [lambda: 0], {"a": {3, 4}}])
def test_anything_else_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(PluginError, match=r"state of bell"):
        flatten(wrong, "bell.inside", {})


def test_blob_keeps_values_of_views_and_shared_memory() -> None:
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    tensors = {
        "one": base,
        "same": base,
        "last": base.to(memory_format=torch.channels_last),
        "part": base[..., 1],
        "scalar": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    back = from_blob(to_blob(tensors))
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    assert to_blob(tensors) == to_blob(dict(reversed(tensors.items())))


def test_attributes_stand_in_for_a_state_dict() -> None:
    class Counter:
        def __init__(self) -> None:
            self.seen, self.sums = 3, torch.ones(2)

    other = Counter()
    other.seen, other.sums = 5, torch.zeros(2)
    restore_attributes(other, attributes(Counter()), torch.device("cpu"))
    assert other.seen == 3
    assert torch.equal(other.sums, torch.ones(2))


@pytest.mark.parametrize(
    ("own", "saved"),
    [
        ({"steps": 3}, {"steps": "3"}),
        ({"steps": 3}, {"steps": [3]}),
        ({"groups": [{"lr": 0.1}]}, {"groups": [{"lr": {}}]}),
        ({"name": "x"}, {"name": 1}),
        ({"rates": (0.1,)}, {"rates": 0.1}),
        ({"inner": {"a": 1}}, {"inner": [1]}),
        ({"t": torch.zeros(2)}, {"t": "zeros"}),
    ],
)
def test_a_value_of_another_kind_is_refused(own: Any, saved: Any) -> None:
    with pytest.raises(ValueError, match="cannot be a"):
        check_kinds(own, saved, "scheduler")


def test_a_state_may_grow() -> None:
    own = {"best": None, "steps": 0, "seen": [], "lr": 0.1, "done": False}
    check_kinds(own, {"best": 0.5, "steps": 7, "seen": [1, 2], "lr": torch.tensor(0.1), "more": {}, "done": 1}, "x")
