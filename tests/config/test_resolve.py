"""Layers, precedence, names, and the errors of a configuration."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clsfit.config import Config, Selection, resolve, switches
from clsfit.errors import ConfigError, DataError, ExitCode, PluginError
from clsfit.registry import Plugins

Configure = Callable[..., Config]

ADDED = {"class_weights": None}
"""What the core adds to every loss."""


def names(config: Config, slot: str) -> list[str]:
    return [choice.name for choice in config.all(slot)]


def refused(configure: Configure, *texts: str, **given: object) -> list[str]:
    """The lines of the error."""
    with pytest.raises(ConfigError) as caught:
        configure(*texts, **given)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value).splitlines()


def test_the_recipe_alone(configure: Configure) -> None:
    config = configure()
    assert config.settings.epochs == 5
    assert config.settings.batch_size == 32
    assert config.one("loss").params == {"label_smoothing": 0.1, **ADDED}
    assert isinstance(config.data, Selection)
    assert config.data.name == "rings"
    assert names(config, "metric") == ["accuracy"]
    assert config.explicit == frozenset()
    assert config.notes == ()


def test_each_layer_lies_on_the_one_before(configure: Configure) -> None:
    layers = {
        "recipe": "moths",
        "env": {"CLSFIT_EPOCHS": "11"},
        "sets": ["epochs=12", "epochs=13"],
        "epochs": "14",
    }
    texts = ["epochs: 9", "epochs: 10"]
    seen = [configure(*texts, **layers).settings.epochs]
    for gone in ("epochs", "sets", "env"):
        del layers[gone]
        seen.append(configure(*texts, **layers).settings.epochs)
    seen += [configure(texts[0], recipe="moths").settings.epochs, configure(recipe="moths").settings.epochs]
    assert seen == [14, 13, 11, 10, 9, 7]


def test_a_recipe_lies_on_the_default_one(configure: Configure) -> None:
    config = configure(recipe="moths")
    assert config.one("loss").name == "focal"
    assert names(config, "metric") == ["accuracy", "f1"]
    assert config.all("metric")[1].params == {"average": "micro"}
    assert config.explicit == frozenset()
    assert config.recipe == "moths"
    assert config.notes == ()


def test_parameters_without_a_name_are_for_what_is_selected_in_the_end(configure: Configure) -> None:
    config = configure("loss: {gamma: 5}", loss="focal")
    assert config.one("loss").params == {"gamma": 5.0, **ADDED}
    assert configure(env={"CLSFIT_LOSS__GAMMA": "4"}, loss="focal").one("loss").params == {"gamma": 4.0, **ADDED}


def test_another_name_drops_the_parameters_of_the_one_before_with_a_note(configure: Configure) -> None:
    config = configure("loss: {name: smooth, label_smoothing: 0.3}", loss="focal")
    assert config.one("loss").params == {"gamma": 2.0, **ADDED}
    [note] = config.notes
    assert "loss.label_smoothing" in note
    assert "0.yaml:1" in note
    assert "focal" in note


def test_nameless_parameters_of_a_component_that_was_replaced_are_dropped_with_a_note(configure: Configure) -> None:
    config = configure("loss: {label_smoothing: 0.3}", loss="focal")
    assert config.one("loss").params == {"gamma": 2.0, **ADDED}
    assert len(config.notes) == 1


def test_the_same_name_again_keeps_parameters(configure: Configure) -> None:
    assert configure("loss: {name: focal, gamma: 5}", loss="focal").one("loss").params == {"gamma": 5.0, **ADDED}
    assert configure("loss: {name: focal, gamma: 5}", loss="fake:focal").one("loss").params == {"gamma": 5.0, **ADDED}


def test_repeatable_slots_add_update_and_empty(configure: Configure) -> None:
    assert names(configure("metric: f1", metric=["top-k", "accuracy"]), "metric") == ["accuracy", "f1", "top-k"]
    assert names(configure("metric: [f1]", metric=["none", "top-k"]), "metric") == ["top-k"]
    assert names(configure("metric: [f1, none]"), "metric") == ["f1"]
    assert names(configure(metric="none"), "metric") == []
    config = configure("metric: [{name: f1, average: micro}]", sets=["metric.f1.average=macro"])
    assert config.all("metric")[1].params == {"average": "macro"}


@pytest.mark.parametrize(
    "given",
    [
        {"metric": [{"name": "f1", "average": "micro"}]},
        {"metric": {"f1": {"average": "micro"}}},
        {"sets": ["metric.f1.average=micro"]},
        {"sets": ["metric=[{name: f1, average: micro}]"]},
        {"env": {"CLSFIT_METRIC__F1__AVERAGE": "micro"}},
        {"env": {"CLSFIT_METRIC": "{f1: {average: micro}}"}},
        {"metric": {"fake:f1": {"average": "micro"}}},
    ],
)
def test_naming_a_parameter_selects_its_component(configure: Configure, given: dict[str, object]) -> None:
    config = configure(**given)
    assert names(config, "metric") == ["accuracy", "f1"]
    assert config.all("metric")[1].params == {"average": "micro"}


def test_environment_spellings(configure: Configure) -> None:
    env = {
        "CLSFIT_BATCH_SIZE": "64",
        "CLSFIT_SKIP_BAD": "1",
        "CLSFIT_SCHEDULER__T_MAX": "3",
        "CLSFIT_METRIC": "f1,top-k",
        "CLSFIT_CALLBACK__STOP__NOTE": "007",
        "CLSFIT_SEED": "",
        "CLSFIT_CACHE": "/somewhere",
        "CLSFIT_DEBUG": "1",
        "OTHER": "x",
    }
    config = configure(env=env)
    assert (config.settings.batch_size, config.settings.skip_bad, config.settings.cache) == (64, True, "auto")
    assert config.one("scheduler").params == {"T_max": 3}
    assert names(config, "metric") == ["accuracy", "f1", "top-k"]
    assert config.one("callback").params["note"] == "007"
    assert config.explicit >= {"batch_size", "metric.f1", "callback.stop.note"}


def test_hyphens_and_underscores_are_one(configure: Configure) -> None:
    assert configure("batch-size: 8").settings.batch_size == 8
    assert configure(sets=["loss.label-smoothing=0.2"]).one("loss").params == {"label_smoothing": 0.2, **ADDED}
    assert "twice" in refused(configure, "batch-size: 8\nbatch_size: 9")[0]


@pytest.mark.parametrize(
    ("item", "note", "extra"),
    [
        ("callback.stop.note=a: b", "a: b", None),
        ("callback.stop.note=[1]", "[1]", None),
        ("callback.stop.note='3'", "3", None),
        ("callback.stop.extra=[1, x]", "", [1, "x"]),
        ("callback.stop.extra={a: 1e-3}", "", {"a": 1e-3}),
        ("callback.stop=", "", None),
        ("callback.stop={note: hm}", "hm", None),
    ],
)
def test_set_reads_values_by_type(configure: Configure, item: str, note: str, extra: object) -> None:
    params = configure(sets=[item]).one("callback").params
    assert (params["note"], params["extra"]) == (note, extra)


def test_explicit_keys(configure: Configure) -> None:
    config = configure("loss: {name: focal, gamma: 3}", metric=["none", {"name": "f1", "average": "micro"}], epochs=2)
    assert config.explicit == {"loss", "loss.gamma", "metric", "metric.f1", "metric.f1.average", "epochs"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("auto", None), (64, (64, 64)), ("64", (64, 64)), ("48x64", (48, 64)), ([48, 64], (48, 64)), (None, None)],
)
def test_input_size(configure: Configure, written: object, meant: object) -> None:
    assert configure(input_size=written).settings.input_size == meant


def test_settings_read_texts(configure: Configure) -> None:
    settings = configure(
        mean="0.5", std="0.1,0.2,0.3", channels="3", workers="auto", threads="2", device="cuda:1", val_fraction="0"
    ).settings
    assert (settings.mean, settings.std, settings.channels) == ((0.5,), (0.1, 0.2, 0.3), 3)
    assert (settings.workers, settings.threads, settings.device, settings.val_fraction) == (None, 2, "cuda:1", 0.0)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ({"loss": "focl"}, "unknown loss 'focl'", "Did you mean 'focal'?"),
        (
            {"loss": {"name": "focal", "gama": 1}},
            "loss 'focal' has no parameter 'gama'",
            "Did you mean '--loss.gamma'?",
        ),
        ({"loss": {"gamma": 1}}, "--loss.gamma belongs to loss 'focal', which is not selected", "add --loss focal"),
        ({"loss": {"gama": 1}}, "no loss has a parameter 'gama'", "Did you mean 'gamma'?"),
        (
            {"metric": {"f1": {"averag": 1}}},
            "metric 'f1' has no parameter 'averag'",
            "Did you mean '--metric.f1.average'?",
        ),
        ({"epoch": 1}, "unknown key 'epoch'", "Did you mean 'epochs'?"),
        ({"epochs": "many"}, "--epochs: 'many' does not fit", "expected int >= 1"),
        ({"epochs": 0}, "--epochs: '0' does not fit", "expected int >= 1"),
        ({"epochs": True}, "--epochs: 'true' does not fit", "expected int >= 1"),
        ({"threads": 0}, "--threads: '0' does not fit", "expected int or auto >= 1"),
        ({"data": ""}, "data cannot be empty", "name a dataset"),
        ({"input_size": "big"}, "--input-size: 'big' is no size", "write N or HxW"),
        ({"input_size": 0}, "--input-size: '0' does not fit", ""),
        ({"std": 0}, "--std: '0' does not fit", ""),
        ({"mean": [0.5, 0.5]}, "--mean: ", ""),
        ({"device": "gpu"}, "--device: 'gpu' does not fit", "auto, cpu, cuda, cuda:N or mps"),
        ({"val_fraction": 1}, "--val-fraction: '1' does not fit", ""),
        ({"loss": "none"}, "loss cannot be none", "name a loss"),
        ({"loss": 3}, "loss needs a name, not 3", "quote it"),
        ({"loss": None}, "loss is empty", "name a loss, or leave the key out"),
        ({"loss": ["focal"]}, "loss needs a name, not ['focal']", "loss holds one loss"),
        ({"metric": 3}, "metric needs names", "write metric: none"),
        ({"metric": {"f1": 3}}, "metric.f1 needs parameters with values", ""),
        ({"sets": ["loss"]}, "--set takes KEY=VALUE", ""),
        ({"sets": ["recipe=moths"]}, "unknown key 'recipe'", "it is set by the option --recipe only"),
        ({"sets": ["resume=true"]}, "unknown key 'resume'", "it is set by the option --resume only"),
        ({"env": {"CLSFIT_RESUME": "1"}}, "unknown environment variable CLSFIT_RESUME", "it is set by the option"),
        ({"sets": ["epochs.x=1"]}, "epochs has no parameters", ""),
        ({"env": {"CLSFIT_EPOCH": "1"}}, "unknown environment variable CLSFIT_EPOCH", "Did you mean 'CLSFIT_EPOCHS'?"),
        ({"recipe": "moth"}, "unknown recipe 'moth'", "Did you mean 'moths'?"),
        ({"recipe": "wrong"}, "unknown key 'epocks'", "Did you mean 'epochs'?"),
        ({"callback": {"stop": {"monitor": "val/f1"}}}, "--callback.stop.monitor: the run will have no 'val/f1'", ""),
    ],
)
def test_mistakes(configure: Configure, given: dict[str, object], first: str, last: str) -> None:
    lines = refused(configure, **given)
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)
    assert len(lines) <= 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epochs: 3\nloss: focl\n", 2),
        ("epochs: 3\n\nmetrik: f1\n", 3),
        ("loss:\n  name: focal\n  gamma: high\n", 3),
        ("loss:\n  name: focal\n  gama: 1\n", 3),
        ("metric:\n- accuracy\n- name: f1\n  average: mean\n", 4),
        ("metric:\n", 1),
        ("data: 3\n", 1),
        ("- a\n", 1),
        ("loss:\n  name: [a]\n", 2),
    ],
)
def test_mistakes_in_files_name_file_and_line(configure: Configure, text: str, line: int) -> None:
    assert any(part.endswith(f"0.yaml:{line}") for part in refused(configure, text))


def test_an_option_is_named_once(configure: Configure) -> None:
    for given in ({"input_size": "big"}, {"std": 0}, {"device": "gpu"}, {"epochs": 0}):
        assert "\n".join(refused(configure, **given)).count("--") == 1


def test_data_is_an_argument_not_an_option(configure: Configure) -> None:
    assert "argument DATA" in refused(configure, data="none")


def test_a_mistake_in_a_recipe_names_its_line(configure: Configure) -> None:
    assert refused(configure, recipe="wrong")[1] == "recipe wrong:3"


def test_monitors_know_the_selected_metrics(configure: Configure) -> None:
    monitor = {"stop": {"monitor": "val/f1"}}
    assert configure(callback=monitor, metric="f1").one("callback").params["monitor"] == "val/f1"
    assert configure(callback={"stop": {"monitor": "train/loss"}}).one("callback").params["monitor"] == "train/loss"
    assert "Did you mean 'val/accuracy'?" in refused(configure, callback={"stop": {"monitor": "val/acuracy"}})


def test_data_is_a_path_where_there_is_one(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(configure(data="rings").data, Selection)
    (tmp_path / "rings").mkdir()
    assert configure(data="rings").data == "rings"
    for named in ("fake:rings", {"name": "rings", "pictures": "5"}):
        assert isinstance(configure(data=named).data, Selection)


def test_missing_data_is_exit_3(configure: Configure) -> None:
    with pytest.raises(
        DataError, match=r"(?s)no such folder, archive, table or data set: 'ring'.*Did you mean 'rings'"
    ):
        configure(data="ring")
    assert isinstance(configure("data: gone_since", data="rings").data, Selection)


def test_parameters_of_a_data_set_are_inert_beside_a_path(configure: Configure, tmp_path: Path) -> None:
    lines = refused(configure, sets=["data.pictures=3"], data=str(tmp_path))
    assert lines[0].startswith("--data.pictures is for a data set by name")


def test_without_a_default_recipe_nothing_can_run() -> None:
    with pytest.raises(ConfigError, match="no recipe 'default'"):
        resolve(Plugins(()), environ={})


def test_a_component_without_params_is_imported_last(configure: Configure) -> None:
    with pytest.raises(PluginError, match="not_there"):
        configure(model="heavy")
    assert refused(configure, model="heavy", callback={"stop": {"patience": 0}})[0].startswith(
        "--callback.stop.patience"
    )


def test_the_switches_of_every_layer_add_up(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("disable_plugins: [a]\nloss: whatever\n")
    found = switches(
        files=[tmp_path / "c.yaml"],
        environ={"CLSFIT_DISABLE_PLUGINS": "b, c", "CLSFIT_NO_PLUGINS": "1", "CLSFIT_LOSS__GAMMA": "3"},
        sets=["disable-plugin=d"],
        options={"disable_plugins": ["e", "a"]},
    )
    assert found.disable == ("a", "b", "c", "d", "e")
    assert found.bundled_only
    assert not switches(environ={"CLSFIT_NO_PLUGINS": "1"}, options={"no_plugins": False}).bundled_only


def test_switches_are_part_of_the_configuration(configure: Configure) -> None:
    config = configure("disable_plugins: [a]", env={"CLSFIT_DISABLE_PLUGINS": "b,c"})
    assert config.settings.disable_plugins == ("a", "b", "c")


def test_neither_torch_nor_pydantic_is_imported_to_find_names() -> None:
    code = (
        "import sys, clsfit.config; from clsfit.registry import Plugins;"
        "plugins = Plugins.discover(); clsfit.config.switches();"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'pydantic', 'rich', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
