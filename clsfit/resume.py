"""Whether a command goes on with the run that a directory holds, or asks for another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsfit.config import Config, flatten, free_keys, resolve
from clsfit.errors import CheckpointError, ConfigError, PluginError, printable
from clsfit.registry import Plugins
from clsfit.storage.rundir import ENVIRONMENT, RunDirectory

if TYPE_CHECKING:
    from clsfit.data.intake import Intake


@dataclass
class Record:
    """What a run directory says of its run.

    Attributes:
        split: the rows of split.csv.
        environment: what environment.json says.
        changed: whether accepted changes make this another run than the recorded one.
        moved: whether the command names another DATA than the recorded one, which may still be the same.
    """

    directory: RunDirectory
    split: list[Mapping[str, str]]
    environment: Mapping[str, Any]
    changed: bool = False
    moved: bool = False

    @classmethod
    def read(cls, directory: RunDirectory) -> Record | None:
        """The record, or None where the run was stopped before it was complete: it starts anew then."""
        if not directory.holds_checkpoint():
            return None
        return cls(directory, directory.read_split(), _environment(directory))

    def check_data(self, intake: Intake, accept: bool) -> None:
        """Refuses data that is not the recorded one.

        Raises:
            CheckpointError: pictures, labels or classes differ, unless ``accept``.
        """
        recorded = self.environment["data"]
        lines = []
        if list(intake.table.classes) != recorded["classes"]:
            lines.append(f"classes: {', '.join(recorded['classes'])} -> {', '.join(intake.table.classes)}")
        if len(intake.table.paths) != recorded["pictures"]:
            lines.append(f"pictures: {recorded['pictures']} -> {len(intake.table.paths)}")
        if intake.fingerprint != recorded["fingerprint"] and not lines:
            lines.append("pictures were renamed, relabelled or changed in size or weight")
        self.refuse("the data set is not the one that this run was started with", lines, accept)

    def check_ranks(self, ranks: int, accept: bool) -> None:
        """Refuses another number of processes than the recorded one: gradients would be added up in another way.

        Raises:
            CheckpointError: it differs, unless ``accept``.
        """
        recorded = self.environment.get("ranks", 1)
        lines = [f"ranks: {recorded} -> {ranks}"] if recorded != ranks else []
        self.refuse("this run was started with another number of processes", lines, accept)

    def refuse(self, what: str, lines: list[str], accept: bool) -> None:
        """Raises with the differences, or notes that they were accepted."""
        if not lines:
            return
        if not accept:
            shown = printable("; ".join(lines[:5])) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
            raise CheckpointError(what, shown, "use another -o for another run, or give --accept-changes")
        self.changed = True


def agree(config: Config, plugins: Plugins, record: Record, accept: bool) -> Config:
    """The recorded configuration, with what the command may change.

    Options that the command leaves out are as recorded. Options that it gives must agree with the
    record, but for workers, their start method, cache and what components declare as free.

    Raises:
        CheckpointError: an option or a plugin's version differs, unless ``accept``.
    """
    file = record.directory.path / "config.yaml"
    _check_installed(plugins, record.environment)
    moved = {"data": config.tree()["data"]} if "data" in config.explicit else {}
    record.moved = bool(moved) and moved["data"] != record.directory.read_data()
    recorded = resolve(plugins, files=(file,), environ={}, options=moved)
    before, after, tree = flatten(recorded.tree()), flatten(config.tree()), config.tree()
    asked = [key for key in after if _given(key, config.explicit) and after[key] != "auto"]
    differ = [key for key in asked if after[key] != before.get(key, "not set")]
    places = {"data", "data.path"} if config.data_path is not None else {"data"}
    free = free_keys(config) | places  # the data's fingerprint is compared, not its path
    lines = [f"{key}: {before.get(key, 'not set')} -> {after[key]}" for key in differ if key not in free]
    record.refuse("the command asks for another run than the recorded one", lines, accept)
    if "model.weights" in differ:
        raise ConfigError(
            "--model.weights is what training starts from, and this run has begun",
            f"recorded: {before.get('model.weights')}; asked for: {after['model.weights']}",
            "leave the option out, or use another -o for another run",
        )
    if differ:
        changed = {key.partition(".")[0] for key in differ}
        recorded = resolve(plugins, files=(file,), environ={}, options=moved | {slot: tree[slot] for slot in changed})
    _check_versions(recorded, record, accept)
    return recorded


def check_plugins(plugins: Plugins, path: Path) -> None:
    """Refuses to go on with the run at ``path``, if one is there, without a plugin that it was started with.

    The same command names that plugin's components. Asked before they are looked up, this says what is
    missing, where the look-up knows unknown names only.

    Raises:
        PluginError: it is not installed, switched off, or failed to load.
        CheckpointError: the run's record is damaged.
    """
    directory = RunDirectory(path)
    if directory.holds_run() and directory.holds_checkpoint():
        _check_installed(plugins, _environment(directory))


def _environment(directory: RunDirectory) -> dict[str, Any]:
    """What environment.json says, with the values that resuming needs of the kinds that it needs.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    values = directory.read_environment()
    if not _says_all(values):
        raise CheckpointError(
            "this file of the run cannot be used: it does not say which data and plugins the run has",
            printable(str(directory.path / ENVIRONMENT)),
            "restore it from a backup, or start anew with --overwrite",
        )
    return values


def _says_all(environment: Mapping[str, Any]) -> bool:
    data, plugins = environment.get("data"), environment.get("plugins")
    if not isinstance(data, dict) or not isinstance(plugins, list) or not isinstance(data.get("pictures"), int):
        return False
    classes = data.get("classes")
    if not isinstance(classes, list) or not all(isinstance(plugin, dict) for plugin in plugins):
        return False
    texts = [plugin.get(part) for plugin in plugins for part in ("name", "distribution", "version")]
    return all(isinstance(text, str) for text in (*classes, data.get("fingerprint"), *texts))


def _check_installed(plugins: Plugins, environment: Mapping[str, Any]) -> None:
    found = {plugin.name: plugin for plugin in plugins.plugins}
    for needed in environment["plugins"]:
        plugin, requirement = found.get(needed["name"]), f"{needed['distribution']}=={needed['version']}"
        if plugin is None or plugin.status != "ok":
            state = "not installed" if plugin is None else f"{plugin.status}: {plugin.error}".rstrip(": ")
            raise PluginError(
                f"the run was started with plugin {needed['name']!r}, which is {state}",
                f"it came with {requirement}",
                f"python -m pip install {requirement}",
            )


def _check_versions(config: Config, record: Record, accept: bool) -> None:
    from clsfit.provenance import plugins_of

    now = {plugin["name"]: f"{plugin['distribution']} {plugin['version']}" for plugin in plugins_of(config)}
    lines = []
    for plugin in record.environment["plugins"]:
        then = f"{plugin['distribution']} {plugin['version']}"
        if now.get(plugin["name"], then) != then:
            lines.append(f"{then} -> {now[plugin['name']]}")
    record.refuse("a plugin has changed since this run was started", lines, accept)


def _given(key: str, explicit: Iterable[str]) -> bool:
    return any(key == name or key.startswith(name + ".") or name.startswith(key + ".") for name in explicit)
