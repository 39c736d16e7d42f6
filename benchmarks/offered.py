"""Backends that are installed for the length of a block: a module and an entry point each, found as pip's are.

    with offered({"slow": SOURCE}):
        compare_ag.run(["numpy", "slow"])

What a source leaves out, the hook, is written by `source`; modules beside this file can be imported from one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

DISTRIBUTION = "compare-ag-benchmarks"
BACKEND = """
from compare_ag import hookimpl
{imports}


@hookimpl
def compare_ag_backend():
    return {expression}
"""
MUTANT = "next(one for one in compare_ag_mutants() if one.name == {name!r}).make(NumpyBackend, {size!r})"


def source(imports: str, expression: str) -> str:
    """A plugin whose backend class is the value of ``expression``."""
    return BACKEND.format(imports=imports, expression=expression)


def mutant(name: str, size: float) -> str:
    """A plugin whose backend is numpy's, changed by a bundled mutant in one of its sizes."""
    imports = "from compare_ag_mutants import compare_ag_mutants\nfrom compare_ag_numpy import NumpyBackend"
    return source(imports, MUTANT.format(name=name, size=size))


@contextmanager
def offered(backends: Mapping[str, str]) -> Iterator[None]:
    """Install a plugin's source under each name, for this process and those that it starts."""
    path = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="compare-ag-offered-") as name:
        folder = Path(name)
        metadata = folder / f"{DISTRIBUTION.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 1.0\n")
        lines = ["[compare_ag]"]
        for backend, text in backends.items():
            module = f"offered_{backend.replace('-', '_')}"
            (folder / f"{module}.py").write_text(text)
            lines.append(f"{backend} = {module}")
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        places = [str(folder), str(Path(__file__).parent)]
        os.environ["PYTHONPATH"] = os.pathsep.join([*places, *([path] if path else [])])
        sys.path[:0] = places
        try:
            yield
        finally:
            sys.path[:] = [place for place in sys.path if place != str(folder)]
            if path is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = path
