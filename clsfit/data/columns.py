"""Which columns of a table say what, where their names are not to be guessed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clsfit.errors import ConfigError, printable


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns, as a user gives them; None: by the usual names.

    Attributes:
        path: of the column that says where a picture is.
        label: of its class's name.
        group: of what must not be divided by a split.
        split: of train, val or test; empty: of none, since the split comes from elsewhere.
        weight: of what its loss is multiplied by.
    """

    path: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    weight: str | None = None

    def given(self) -> dict[str, str]:
        """What a column is for -> its name, of those that are given."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {meaning: name for meaning, name in named.items() if name}


GUESSED = Columns()
"""None is given."""

OPTIONS = {
    "path": "--path-column",
    "label": "--label-column",
    "group": "--group",
    "split": "--split-by",
    "weight": "--weight-column",
}
"""The option that names the column for each of :class:`Columns`."""


def refuse(columns: Columns, data: str) -> None:
    """Refuses names of columns for data that has none.

    Args:
        columns: what was given.
        data: what it was given for, printable.

    Raises:
        ConfigError: naming the option of the first of them.
    """
    for meaning, column in columns.given().items():
        raise ConfigError(
            f"{OPTIONS[meaning]} {printable(column)} names a column, but DATA is no table",
            data,
            "leave it out, or name a table",
        )
