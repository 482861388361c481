"""Which columns of a table say what, where their names are not to be guessed."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns, as a user gives them; None: by the usual names.

    Attributes:
        path: of the column that says where a picture is.
        label: of its class's name.
        group: of what must not be divided by a split.
        split: of train, val or test.
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
        return {meaning: name for meaning, name in named.items() if name is not None}


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
