"""config.yaml gives the same run again; trees can be compared; the schema accepts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.config import SLOTS, Config, differences, free_keys, json_schema, resolve
from clsfit.config.settings import NAMES
from clsfit.config.yaml import parse
from clsfit.registry import Plugins

Configure = Callable[..., Config]

floats = st.floats(0, 1e6)
losses = st.one_of(
    st.builds(lambda g: {"name": "focal", "gamma": g}, floats),
    st.builds(lambda s: {"name": "smooth", "label_smoothing": s}, floats),
)
optimizers = st.builds(
    lambda lr, b: {"name": "adam", "lr": lr, "betas": b}, floats, st.lists(floats, min_size=2, max_size=2)
)
metrics = st.lists(st.sampled_from(["accuracy", "f1", "top-k", {"name": "f1", "average": "micro"}, "none"]), max_size=4)
words = st.text(max_size=6) | st.sampled_from(["no", "1e3", "~", "1:30", "\ud83d", "a\nb"])
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
stops = st.builds(
    lambda note, extra: [{"name": "stop", "note": note, "extra": extra, "patience": 3}],
    words,
    values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2),
)
cores = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**6),
        "seed": st.integers(0, 2**63 - 1),
        "input_size": st.just("auto") | st.tuples(st.integers(1, 999), st.integers(1, 999)),
        "channels": st.sampled_from([1, 3, "auto"]),
        "mean": st.just("auto") | st.lists(st.floats(0, 1), min_size=1, max_size=1),
        "std": st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
        "val_fraction": st.floats(0, 0.99),
        "device": st.sampled_from(["cpu", "cuda:3"]),
        "workers": st.integers(0, 64) | st.just("auto"),
        "start_method": st.sampled_from(["auto", "thread", "fork", "spawn"]),
        "skip_bad": st.booleans(),
        "disable_plugins": st.lists(st.sampled_from(["a", "no", "3"]), max_size=2, unique=True),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(losses, optimizers, metrics, stops, cores)
def test_the_written_file_gives_the_same_run(
    plugins: Plugins, tmp_path: Path, loss: Any, optimizer: Any, metric: Any, callback: Any, core: dict[str, Any]
) -> None:
    tree = {"loss": loss, "optimizer": optimizer, "metric": metric, "callback": callback} | core
    config = resolve(plugins, environ={}, options=tree)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    again = resolve(plugins, recipe="moths", files=[path], environ={})
    assert (again.settings, again.data, again.components) == (config.settings, config.data, config.components)
    assert repr(again.components) == repr(config.components)  # 1, 1.0 and True are equal, but not the same
    assert again.to_yaml() == config.to_yaml()


def test_the_file_is_plain_and_in_the_order_of_the_options(configure: Configure) -> None:
    text = configure(metric="f1", input_size="48x64").to_yaml()
    tree = parse(text, "f").plain()
    assert list(tree) == [*SLOTS, *NAMES]
    assert "#" not in text
    assert tree["data"] == {"name": "rings", "pictures": 100}
    assert tree["metric"] == ["none", "accuracy", {"name": "f1", "average": "macro"}]
    assert tree["augment"] == ["none"]
    assert (tree["input_size"], tree["channels"], tree["mean"]) == ("48x64", "auto", "auto")


def test_a_path_stays_a_path(configure: Configure, tmp_path: Path) -> None:
    config = configure(data=str(tmp_path))
    assert config.tree()["data"] == str(tmp_path)
    assert configure(config.to_yaml()).data == str(tmp_path)


def test_settings_can_be_replaced(configure: Configure) -> None:
    config = configure().replace_settings(input_size=(8, 8), mean=(0.5,))
    assert (config.tree()["input_size"], config.tree()["mean"]) == (8, [0.5])


def test_differences_name_keys_and_values(configure: Configure) -> None:
    base = {"loss": {"name": "focal", "gamma": 2}, "metric": ["f1"], "callback": {"stop": {"note": "a"}}}
    old = configure(**base).tree()

    def changed(**options: Any) -> list[str]:
        return differences(old, configure(**base | options).tree(), free_keys(configure(**base)))

    assert changed() == []
    assert changed(loss={"name": "focal", "gamma": 3}) == ["loss.gamma: 2.0 -> 3.0"]
    assert changed(loss={"name": "smooth"}) == ["loss: focal -> smooth"]
    assert changed(metric={"f1": {"average": "micro"}}) == ["metric.f1.average: macro -> micro"]
    assert changed(metric=["none", "f1", "accuracy"]) == ["metric: [accuracy, f1] -> [f1, accuracy]"]
    assert changed(metric="none") == ["metric: [accuracy, f1] -> []"]
    assert changed(epochs=9, mean=0.5) == ["epochs: 5 -> 9", "mean: auto -> [0.5]"]
    assert changed(callback={"stop": {"note": "b"}}, workers=3, start_method="spawn", cache="off") == []
    assert changed(no_plugins=True) == []
    assert changed(callback={"stop": {"patience": 3}}) == ["callback.stop.patience: 10 -> 3"]


@pytest.mark.parametrize(
    ("tree", "fits"),
    [
        ({"loss": "focal", "metric": ["none", "f1", {"name": "f1", "average": "micro"}], "data": "photos"}, True),
        ({"loss": {"gamma": 3}, "metric": {"f1": {"average": "micro"}, "accuracy": None}, "input_size": "48x64"}, True),
        ({"model": {"name": "heavy", "anything": 1}, "input_size": 64, "mean": [0.5], "workers": "auto"}, True),
        ({"loss": "fake:focal", "metric": {"fake:f1": {"average": "micro"}}}, True),
        ({"loss": {"name": "fake:focal", "gamma": 3}}, True),
        ({"loss": "other:focal"}, False),
        ({"loss": "focl"}, False),
        ({"loss": {"name": "focal", "gamma": -1}}, False),
        ({"loss": {"name": "smooth", "gamma": 1}}, False),
        ({"metric": [{"average": "micro"}]}, False),
        ({"epochs": 0}, False),
        ({"epocks": 1}, False),
        ({"input_size": "big"}, False),
        ({"input_size": 0}, False),
    ],
)
def test_the_schema_accepts_what_is_right(plugins: Plugins, tree: dict[str, Any], fits: bool) -> None:
    schema = json_schema(plugins)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(tree) == fits


def test_the_schema_accepts_a_written_file(plugins: Plugins, configure: Configure) -> None:
    for config in (
        configure(),
        configure(recipe="moths", input_size=8, mean=0.5, callback="stop", std=[0.1, 0.2, 0.3]),
    ):
        jsonschema.validate(config.tree(), json_schema(plugins))
