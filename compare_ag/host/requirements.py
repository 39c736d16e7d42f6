"""A backend's requirements: the extra of its name, the missing requirements, the line that installs them.

Read from metadata alone: no package is imported to see whether it is installed. The line names the environment that
runs this (pip, uv or pipx), because a line for another environment would change nothing in this one.
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


def normalise_name(name: str) -> str:
    """The name of a distribution or of an extra as PEP 503 and PEP 685 compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def extra_requirements(requires: Iterable[str], distribution: str, extra: str) -> Iterator[str]:
    """The requirements of this extra alone, without their markers.

    Extras are compared as PEP 685 normalises them (``torch_compile`` is written ``torch-compile`` in metadata). An
    extra that requires another extra of its own distribution (``mine[gpu]``) brings that extra's requirements too.
    """
    pending, followed = [normalise_name(extra)], set[str]()
    while pending:
        followed.add(current := pending.pop())
        for text in requires:
            # only requirements that name this extra are parsed, so that a mistake in another extra has no effect
            if current not in map(normalise_name, re.findall(r"""['"]([^'"]+)['"]""", text.partition(";")[2])):
                continue
            requirement = _requirement(text)
            marker = requirement.marker
            if marker is None or not marker.evaluate({"extra": current}) or marker.evaluate({"extra": ""}):
                continue
            if normalise_name(requirement.name) == distribution:
                pending += {normalise_name(own) for own in requirement.extras} - followed
            else:
                requirement.marker = None
                yield str(requirement)


def _requirement(text: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(text)


def explain_lack(text: str) -> str:
    """Why a requirement is not satisfied in this environment; empty when it is satisfied."""
    requirement = _requirement(text)
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement}, which is not installed"
    except KeyError:  # the metadata have no version: so says the importlib_metadata that some libraries install
        version = ""
    if not version:
        return f"{requirement}, whose installed version cannot be read"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement}, but {version} is installed"


def install_line(requirements: Sequence[str], *, built_in: bool) -> str:
    """The line that installs these requirements into the environment that runs this.

    It installs the requirements and not ``compare-ag[torch]``, because from a source tree that name may not exist on
    any index. For a built-in backend the constraints of the source tree, where it is run from one, choose the tested
    release of torch.
    """
    wanted = [shlex.quote(text) for text in requirements]
    prefix = Path(sys.prefix)
    if prefix.parts[-3:-1] == ("pipx", "venvs") or (prefix / "pipx_metadata.json").is_file():
        return " ".join(["pipx inject", shlex.quote(prefix.name), *wanted])  # the name may have pipx's --suffix
    python = relative_path(sys.executable)
    if os.sep not in python:
        python = os.path.join(os.curdir, python)  # a shell would search PATH for a bare name
    constraints = _constraints() if built_in else None
    options = [] if constraints is None else ["-c", shlex.quote(relative_path(constraints))]
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
    """constraints.txt of the source tree, where this project is installed from it in editable mode; else None."""
    import compare_ag

    path = Path(compare_ag.__file__).resolve().parent.parent / "constraints.txt"
    return str(path) if path.is_file() else None


def relative_path(path: str) -> str:
    """The path relative to the current folder where it lies below it."""
    try:
        current_folder = os.getcwd()
        absolute = os.path.abspath(path)
    except FileNotFoundError:  # the current folder has been removed
        return path
    return os.path.relpath(absolute, current_folder) if absolute.startswith(current_folder + os.sep) else absolute
