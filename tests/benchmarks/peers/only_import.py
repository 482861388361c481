"""Imports the package that is named: the least that a program pays that is built on it."""

import importlib
import sys

importlib.import_module(sys.argv[1])
