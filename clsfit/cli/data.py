"""``clsfit data``: what labelled pictures are like, before a model learns from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from clsfit.cli import common, pages, tables
from clsfit.errors import ConfigError, printable

EPILOG = """\
[bold]Examples[/]

  clsfit data check photos/
  clsfit data check photos/ --html report.html
  clsfit data check photos/ --strict --json > check.json

Nothing is ever written into DATA."""

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="a folder of pictures per class, or a table (.csv)", show_default=False),
]


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the commands."""
    group = typer.Typer(cls=pages.Group, help=help_text, epilog=EPILOG)

    @group.callback()
    def data() -> None:
        """A callback keeps ``check`` a command of its own while it is the only one."""

    group.command("check", cls=pages.Command, help="Find unreadable pictures, duplicates and leakage.", epilog=EPILOG)(
        check
    )
    app.add_typer(group, name="data", help=help_text)


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
    workers: common.Workers = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        if html is not None:
            tables.check_place(html, "--html")
            keep_out(html, data, "--html")
        from clsfit.data.intake import open_path
        from clsfit.data.survey import page, report, survey
        from clsfit.data.threads import workers_of

        source = open_path(data)
        with _progress(len(source.table().paths)) as progress:
            found = survey(source, os.path.realpath(data), workers_of(workers), progress)
        if html is not None:
            tables.put_all(html, page.pieces(source, found, data), failpoint="survey")
        if as_json:
            tables.put(tables.json_text(report.to_json(found)))
        else:
            tables.put("\n".join(report.lines(found)))
        if strict and (error := report.refusal(found)) is not None:
            raise error

    return job


def keep_out(output: Path, data: str, option: str) -> None:
    """Refuses an output that would be written into the data set, or over the table that is one.

    Raises:
        ConfigError: as said.
    """
    place, source = os.path.realpath(output), os.path.realpath(data)
    if place == source or (os.path.isdir(source) and os.path.join(place, "").startswith(os.path.join(source, ""))):
        raise ConfigError(
            "it would be written into the data set, which clsfit never does",
            f"{option} {printable(str(output))}; DATA {printable(data)}",
            "name a file outside of DATA",
        )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object] | None]:
    """A bar over ``total`` pictures, on a terminal only."""
    if not common.bar(alone=True):
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="picture", leave=False, dynamic_ncols=True, mininterval=0.5, file=sys.stderr) as bar:
        yield bar.update
