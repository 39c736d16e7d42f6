"""A run as one JSON document: everything in its directory except the logs, with every number unchanged.

    {
      "schema":    {"name": "compare-ag/export", "major": 1, "minor": 0},
      "manifest":  problem, environment, options, speed verdicts, …       as in manifest.json
      "records":   [one for each backend, in order]                        as in records/NAME.json
      "arrays":    [{"backend": NAME, "arrays": {KEY: ARRAY, …}}, …]       in the same order: losses (T+1,),
                   weight_steps (r,), w (r, d), b (r,), final_w, block_wall_ns (L, M, R), …
      "reference": {KEY: ARRAY, …}                                         losses, loss_tolerance (T+1,), final_w, …
      "control":   {KEY: ARRAY, …}                                         timing blocks of the baseline's second worker
    }

An ARRAY is {"dtype": "float32", "shape": [201], "values": nested lists}; float32 values are written with the digits of
their float64, so that they read back exactly in either. JSON has no NaN and no infinity: they are "nan", "inf" and
"-inf", everywhere.

Schema history
    1.0  first version
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from compare_ag.records import Array, Run, Schema
from compare_ag.text import everywhere, without_paths

SCHEMA = Schema(name="compare-ag/export", major=1, minor=0)


def run_json(run: Run, tell: Callable[[str, int, int], object] = lambda *_: None) -> str:
    """The document, strict JSON in ASCII, without ``<``, so that a script in an HTML page may contain it.

    ``tell`` receives the name of the array to be written, the count of written arrays and the total.
    """
    groups = {name: run.arrays(name) for name in run.records}
    total = sum(map(len, groups.values())) + len(run.reference) + len(run.control)
    done = itertools.count()

    def arrays(owner: str, of: dict[str, Array]) -> str:
        texts = {}
        for key, array in of.items():
            tell(f"{owner}: {key}", next(done), total)
            texts[key] = _text({"dtype": array.dtype.name, "shape": list(array.shape), "values": _values(array)})
        return _object(texts)

    each = [_object({"backend": _text(without_paths(name)), "arrays": arrays(name, of)}) for name, of in groups.items()]
    document = {
        "schema": _text(msgspec.to_builtins(SCHEMA)),
        "manifest": _text(everywhere(msgspec.to_builtins(run.manifest), without_paths)),
        "records": _text([everywhere(msgspec.to_builtins(record), without_paths) for record in run.records.values()]),
        "arrays": f"[{','.join(each)}]",
        "reference": arrays("reference", run.reference),
        "control": arrays("control", run.control),
    }
    return _object(document) + "\n"


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _object(texts: dict[str, str]) -> str:
    """An object whose values are JSON texts already, because a whole run is written array by array."""
    return "{" + ",".join(f"{_text(key)}:{text}" for key, text in texts.items()) + "}"


def _values(array: Array) -> Any:
    """Nested lists; numbers that are not finite become words."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    words = array.astype(object)
    words[~np.isfinite(array)] = [repr(float(value)) for value in array[~np.isfinite(array)]]
    return np.where(np.isfinite(array), array.astype(object), words).tolist()
