"""How long the answers take that need no torch, against a two-command program's ``--help``."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    asked = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": "clsfit train --loss ", "COMP_CWORD": "3"}
    programs = [
        setting.peer("two commands, --help", "two_commands.py", "--help"),
        setting.command("clsfit --help", "--help"),
        setting.command("clsfit plugins list", "plugins", "list"),
        setting.command("clsfit, completion", **asked),
        setting.command("clsfit, misspelt command", "trian", exit_code=2),
        setting.command("clsfit, option's value", "train", "--epochs", "ten", exit_code=2),
        setting.command("clsfit train --help", "train", "--help"),
        setting.peer("import torch", "only_import.py", "torch"),
        setting.peer("import timm", "only_import.py", "timm", needs=("timm",)),
        setting.peer("import lightning", "only_import.py", "lightning", needs=("lightning",)),
        setting.peer("import ultralytics", "only_import.py", "ultralytics", needs=("ultralytics",)),
    ]
    if setting.size == "tiny":
        programs = programs[:7]
    goals = {program.name: 1.5 for program in programs[1:6]} | {programs[6].name: 2.0}
    return [Group("answers", programs, [Figure("seconds", "whole process, s", goals)], same=False, warm=True)]
