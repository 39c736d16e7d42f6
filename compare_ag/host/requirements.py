"""What a backend needs and how to get it: the extra of its name, what is lacking, the line that installs it.

Read from metadata alone: nothing is imported to see whether it is there. The line is exact for the environment that
runs this (pip, uv or pipx), since a line for another one installs into another one and changes nothing here.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def normalised(name: str) -> str:
    """The name of a distribution or of an extra as PEP 503 and PEP 685 compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_extra(requires: Iterable[str], distribution: str, extra: str) -> Iterator[str]:
    """The requirements that only this extra brings, without their markers.

    Extras are compared as PEP 685 normalises them (``torch_compile`` is written ``torch-compile`` in metadata), and
    an extra that asks for another one of its own distribution (``mine[gpu]``) brings what that one brings.
    """
    pending, followed = [normalised(extra)], set[str]()
    while pending:
        followed.add(current := pending.pop())
        for text in requires:
            # only what names this extra is parsed: a mistake in another one is another backend's
            if current not in map(normalised, re.findall(r"""['"]([^'"]+)['"]""", text.partition(";")[2])):
                continue
            requirement = _requirement(text)
            marker = requirement.marker
            if marker is None or not marker.evaluate({"extra": current}) or marker.evaluate({"extra": ""}):
                continue
            if normalised(requirement.name) == distribution:
                pending += {normalised(own) for own in requirement.extras} - followed
            else:
                requirement.marker = None
                yield str(requirement)


def _requirement(text: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(text)


def lacking(text: str) -> str:
    """What is wrong with a requirement in this environment; empty when it is satisfied."""
    requirement = _requirement(text)
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement}, which is not installed"
    if not found:
        return f"{requirement}, whose installed version cannot be read"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement}, but {found} is installed"


def install_line(requirements: Sequence[str], *, built_in: bool) -> str:
    """The line that installs these requirements into the environment that runs this.

    It installs the requirements and not ``compare-ag[torch]``: from a source tree that name may not exist on any
    index. For a built-in backend the constraints of the source tree, where it is run from one, choose the
    release of torch that is tested here.
    """
    wanted = [shlex.quote(text) for text in requirements]
    prefix = Path(sys.prefix)
    if prefix.parts[-3:-1] == ("pipx", "venvs") or (prefix / "pipx_metadata.json").is_file():
        return " ".join(["pipx inject", shlex.quote(prefix.name), *wanted])  # the name may carry pipx's --suffix
    python = near(sys.executable)
    if os.sep not in python:
        python = os.path.join(os.curdir, python)  # a shell looks a bare name up elsewhere
    constraints = _constraints() if built_in else None
    options = [] if constraints is None else ["-c", shlex.quote(near(constraints))]
    if not _has_pip():
        return " ".join(["uv pip install --python", shlex.quote(python), *options, *wanted])
    return " ".join([shlex.quote(python), "-m pip install", *options, *wanted])


def _has_pip() -> bool:
    try:
        metadata.version("pip")
    except metadata.PackageNotFoundError:
        return False
    return True


def _constraints() -> str | None:
    """constraints.txt of the source tree that this project is installed from in place, if it is."""
    import compare_ag

    path = Path(compare_ag.__file__).resolve().parent.parent / "constraints.txt"
    return str(path) if path.is_file() else None


def near(path: str) -> str:
    """The path relative to the current folder where it lies below it."""
    try:
        here = os.getcwd()
        absolute = os.path.abspath(path)
    except FileNotFoundError:  # the current folder has been removed
        return path
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else absolute
