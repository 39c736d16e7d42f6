"""Imported before all else, this makes its process another program: it imports and allocates what the parent has drawn.

A benchmark's parent draws modules of the standard library and sizes of blocks (`messages.Ahead`) and passes them in an
environment variable. The variable is as long where nothing is drawn, so that the environment moves no stack.
"""

from __future__ import annotations

import importlib
import json
import os

VARIABLE = "BENCHMARK_AHEAD"
LENGTH = 400
"""characters of the variable"""

_modules, _sizes = json.loads(os.environ.get(VARIABLE, "").strip() or "[[], []]")
for _name in _modules:
    importlib.import_module(_name)
KEPT = [bytearray(_size) for _size in _sizes]
"""as long as the process lives"""


def environment(modules: list[str], sizes: list[int]) -> dict[str, str]:
    """The variable for a process that imports these modules and keeps blocks of these sizes in bytes; [], []: none."""
    value = json.dumps([modules, sizes])
    if len(value) > LENGTH:
        raise ValueError(f"{len(value)} characters are more than {LENGTH}")
    return {VARIABLE: value.ljust(LENGTH)}
