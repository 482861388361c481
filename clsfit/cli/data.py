"""``clsfit data``: what labelled pictures are like, before a model learns from them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clsfit.cli import common, pages, tables
from clsfit.errors import ConfigError, printable

if TYPE_CHECKING:
    from clsfit.data.columns import Columns

EPILOG = """\
[bold]Examples[/]

  clsfit data check photos/
  clsfit data check photos/ --html report.html
  clsfit data check photos/ --strict --json > check.json

Nothing is ever written into DATA."""

SPLIT_EPILOG = """\
[bold]Examples[/]

  clsfit data split photos/ -o split.csv
  clsfit train split.csv                  [dim]as clsfit train photos/[/]
  clsfit data split photos/ -o split.csv --group parent --test-fraction 0.1

The table names the pictures of DATA by paths relative to itself."""

PREVIEW_HELP = "Draw what the model sees, augmented, a row per class."

_SPLIT = "Split"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="a folder of pictures per class, a .zip, a table, or a data set's name", show_default=False
    ),
]


def add(app: typer.Typer, help_text: str, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the commands; of ``preview`` the options too, where ``arguments`` (those after ``data``) ask for it.

    Returns:
        the arguments as Typer is to parse them.
    """
    group = typer.Typer(cls=pages.Group, help=help_text, epilog=EPILOG)
    group.command("check", cls=pages.Command, help="Find unreadable pictures, duplicates and leakage.", epilog=EPILOG)(
        check
    )
    group.command("split", cls=pages.Command, help="Write the split of a run as a table.", epilog=SPLIT_EPILOG)(split)
    given = list(arguments)
    if given[:1] == ["preview"]:
        from clsfit.cli import preview  # only here: it needs the components' names

        given[1:] = preview.add(group, PREVIEW_HELP, given[1:], completing)
    else:
        group.command("preview", help=PREVIEW_HELP)(_absent)
    app.add_typer(group, name="data")
    return given


def _absent() -> None:
    """Stands for the command that was not asked for."""


def check(
    data: Data,
    as_json: common.Json = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="<file>", help="also a page that shows the duplicates side by side"),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", metavar="", help="exit 3 on unreadable pictures, and on one in two splits or with two labels"
        ),
    ] = False,
    path_column: common.PathColumn = None,
    label_column: common.LabelColumn = None,
    split_by: common.SplitBy = None,
    workers: common.Workers = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        if html is not None:
            tables.check_place(html, "--html")
            tables.keep_out(html, data, "--html")
        from clsfit.data.split_by import columns_of, divide, refuse_ratio
        from clsfit.data.survey import page, report, survey
        from clsfit.data.threads import workers_of

        given = common.given_columns(path_column=path_column, label_column=label_column, split_by=split_by)
        refuse_ratio(given.get("split_by"))
        source = _open(data, columns_of(**given))
        table = divide(source, source.table(), given.get("split_by")).table
        with _progress(len(table)) as progress:
            found = survey(source, os.path.realpath(data), workers_of(workers), progress, table)
        if html is not None:
            tables.put_all(html, page.pieces(source, found, data), failpoint="survey")
        if as_json:
            tables.put(tables.json_text(report.to_json(found)))
        else:
            tables.put("\n".join(report.lines(found)))
        if strict and (error := report.refusal(found)) is not None:
            raise error

    return job


def split(
    data: Data,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="<file>", help="write here: .csv", show_default=False)
    ],
    val_fraction: Annotated[
        float | None,
        typer.Option(
            "--val-fraction",
            metavar="<x>",
            min=0,
            max=0.999,
            help="part of the pictures held out for validation; without it, as train does",
            rich_help_panel=_SPLIT,
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(
            "--test-fraction",
            metavar="<x>",
            min=0,
            max=0.999,
            help="part of the pictures held out for test",
            rich_help_panel=_SPLIT,
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="<n>", help="another number, another split", rich_help_panel=_SPLIT)
    ] = 0,
    split_by: Annotated[
        str | None,
        typer.Option(
            "--split-by",
            metavar="<ratio|folder|column|file>",
            help="what says the split that is there: ratio = none, folder = folders train, val, test, a table's "
            "column, or a table of its own (.csv)",
            rich_help_panel=_SPLIT,
            autocompletion=lambda: ["ratio", "folder"],
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="<parent|column>",
            help="pictures of one group stay on one side of the split: parent = the folder they lie in, or a table's "
            "column",
            rich_help_panel=_SPLIT,
            autocompletion=lambda: ["parent"],
        ),
    ] = None,
    group_regex: Annotated[
        str | None,
        typer.Option(
            "--group-regex",
            metavar="<pattern>",
            help="names the group: first group of the pattern, else the whole match, in the path relative to DATA",
            rich_help_panel=_SPLIT,
        ),
    ] = None,
    path_column: common.PathColumn = None,
    label_column: common.LabelColumn = None,
    weight_column: common.WeightColumn = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="replace the file if it is there")] = False,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        _check_groups(group, group_regex)
        _check_output(output, data, overwrite)
        from clsfit.config import Settings
        from clsfit.data.split_by import columns_of
        from clsfit.data.split_table import divided, written
        from clsfit.data.table import SPLITS

        given = common.given_columns(
            path_column=path_column,
            label_column=label_column,
            weight_column=weight_column,
            group=group,
            split_by=split_by,
        )
        source = _open(data, columns_of(**given))
        for note in getattr(source, "notes", ()):
            print(f"note: {printable(note)}", file=sys.stderr)
        table, notes = divided(
            source,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            group=given.get("group"),
            group_regex=group_regex,
            by=given.get("split_by"),
            default=Settings().val_fraction,
        )
        tables.put_all(output, [written(source, table, output)], failpoint="table")
        for note in notes:
            print(printable(note), file=sys.stderr)
        if "val" not in table.splits:
            print("note: none is held out for validation, so train will hold some out by itself", file=sys.stderr)
        told = ", ".join(f"{name} {len(table.rows(name)):,}" for name in SPLITS if name in table.splits)
        print(f"{len(table):,} pictures: {told}", file=sys.stderr)
        print(printable(str(output)))

    return job


def _check_groups(group: str | None, group_regex: str | None) -> None:
    if group is not None and group_regex is not None:
        raise ConfigError(
            "--group and --group-regex both say what a group is",
            f"--group {printable(group)}, --group-regex {printable(group_regex)}",
            "give one of them",
        )
    try:
        re.compile(group_regex or "")
    except re.error as error:
        raise ConfigError(f"--group-regex {printable(str(group_regex))!r}: it is no pattern: {error}") from None


def _check_output(output: Path, data: str, overwrite: bool) -> None:
    if output.suffix != ".csv":
        raise ConfigError(
            f"{printable(str(output))} does not end in .csv, so train would not take it for a table",
            "option -o",
            f"write to {printable(str(output.with_suffix('.csv')))}",
        )
    tables.check_place(output, "-o")
    tables.keep_out(output, data, "-o")
    if output.exists() and not overwrite:
        raise ConfigError(f"{printable(str(output))} is there already", "option -o", "give --overwrite to replace it")


def _open(data: str, columns: Columns) -> Any:
    """The data set at a path, or a plugin's of that name.

    Args:
        data: the path or the name.
        columns: names of a table's columns that are not guessed.

    Raises:
        ClsfitError: there is none, or it cannot be used.
    """
    from clsfit.data.intake import open_path
    from clsfit.offered import is_unknown, open_named

    if is_unknown(data) or not os.path.exists(data):
        plugins = common.discover(no_plugins=False, disable=())
        if is_unknown(data) or data in plugins.names("dataset"):
            return open_named(data, plugins, columns=columns)
    return open_path(data, columns=columns)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object] | None]:
    """A bar over ``total`` pictures, on a terminal only."""
    if not common.bar(alone=True):
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="picture", leave=False, dynamic_ncols=True, mininterval=0.5, file=sys.stderr) as bar:
        yield bar.update
