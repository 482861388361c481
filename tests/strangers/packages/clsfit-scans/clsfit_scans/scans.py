"""Pictures in a JSON file: a list of {name, label, pixels}."""

import json

import numpy as np

from clsfit.data.table import SampleTable


class Scans:
    """The pictures of the file at ``path``."""

    def __init__(self, path, columns, class_names, brighter=0):
        assert columns.given() == {}
        with open(path, encoding="utf-8") as file:
            self._scans = json.load(file)
        labels = [scan["label"] for scan in self._scans]
        classes = tuple(class_names or sorted(set(labels)))
        names = tuple(scan["name"] for scan in self._scans)
        self._table = SampleTable(names, classes, np.array([classes.index(label) for label in labels]))
        self._brighter = brighter

    def table(self):
        return self._table

    def read(self, row):
        return np.array(self._scans[row]["pixels"], dtype=np.uint8) + np.uint8(self._brighter)
