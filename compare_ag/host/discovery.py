"""Which backends are installed, from package metadata alone.

A backend is an entry point of the group ``compare_ag``; its name is what people type after ``--backends``. Nothing
here imports a plugin: importing torch to print a list costs a second, and one ``sys.exit()`` at a plugin's import
would end the host. What a distribution's metadata gets wrong costs that distribution its place, nobody else.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.text import printable

if TYPE_CHECKING:
    from packaging.requirements import Requirement

GROUP = "compare_ag"
OWN_DISTRIBUTION = "compare-ag"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
"""names that some file systems keep for devices"""


class SelectionError(Exception):
    """The backends asked for cannot be run as asked. The message says why and what to do; the CLI exits 2."""


@dataclass(frozen=True)
class Offer:
    """One backend that a distribution offers."""

    name: str
    module: str
    distribution: str
    """normalised: lower case, hyphens"""
    version: str
    folder: str
    """where its metadata was found, for messages"""
    requires: tuple[str, ...] = ()
    """everything its distribution declares to need, extras included"""

    @cached_property
    def requirements(self) -> tuple[str, ...]:
        """What its distribution's extra of the backend's own name asks for."""
        return tuple(_of_extra(self.requires, self.name))

    @cached_property
    def problem(self) -> tuple[str, str]:
        """("", "") when it can be run, else status and reason: ("missing", …) or ("broken", …)."""
        if not NAME.fullmatch(self.name) or _RESERVED.fullmatch(self.name):
            return "broken", "a backend's name is a lower-case letter and up to 31 letters, digits, '-' or '_'"
        if not self.module:
            return "broken", "its entry point names no module"
        try:
            lacking = [reason for text in self.requirements if (reason := _lacking(text))]
        except ValueError as error:  # packaging's errors for names, specifiers and markers are ValueErrors
            return "broken", f"its distribution's requirements cannot be read: {printable(str(error).splitlines()[0])}"
        return ("missing", "needs " + " and ".join(lacking)) if lacking else ("", "")

    @property
    def status(self) -> str:
        """``available``, ``missing`` or ``broken``."""
        return self.problem[0] or "available"

    @property
    def reason(self) -> str:
        """Why it is not available; empty when it is."""
        return self.problem[1]

    @cached_property
    def install(self) -> str:
        """The exact line that installs what is missing into this environment; empty when nothing is."""
        return install_line(self) if self.status == "missing" else ""

    @property
    def qualified(self) -> str:
        """``distribution:name``: selects this offer whoever else has the name."""
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True)
class Inventory:
    """All offers, sorted by name, and what was odd about the metadata."""

    offers: tuple[Offer, ...]
    notes: tuple[str, ...] = ()
    """distributions that had to be skipped, built-in names that another distribution offers too"""
    _clashes: dict[str, tuple[Offer, ...]] = field(default_factory=dict)

    def available(self) -> list[Offer]:
        """What runs when nothing is named: every available offer whose bare name is unambiguous."""
        return [
            offer for offer in self.offers if offer.status == "available" and self._by_name().get(offer.name) is offer
        ]

    def names(self) -> list[str]:
        """The bare names that select an offer."""
        return sorted(name for name in self._by_name() if NAME.fullmatch(name))

    def select(self, names: Sequence[str]) -> list[Offer]:
        """The offers of these names, in their order, each once.

        Raises `SelectionError` for an unknown or ambiguous name and for one that cannot be run.
        """
        chosen: dict[str, Offer] = {}
        for name in names:
            offer = self._find(name)
            chosen.setdefault(offer.qualified, offer)
        if not chosen:
            raise SelectionError(f"no backend is named; {self._installed()}")
        for offer in chosen.values():
            if offer.status == "missing":
                raise SelectionError(f"backend '{offer.name}' {offer.reason}; install it with: {offer.install}")
            if offer.status == "broken":
                raise SelectionError(f"backend '{printable(offer.name)}' of {offer.distribution}: {offer.reason}")
        return list(chosen.values())

    def _by_name(self) -> dict[str, Offer]:
        """Bare name → the offer it stands for; clashing names are left out."""
        return {offer.name: offer for offer in reversed(self.offers) if offer.name not in self._clashes} | {
            offer.name: offer for offer in self.offers if offer.distribution == OWN_DISTRIBUTION
        }

    def _find(self, name: str) -> Offer:
        by_name = self._by_name()
        qualified = {offer.qualified: offer for offer in self.offers}
        distribution, colon, bare = name.partition(":")
        key = f"{normalised(distribution)}:{bare}" if colon else name
        if key in by_name:
            return by_name[key]
        if key in qualified:
            return qualified[key]
        if name in self._clashes:
            owners = " or ".join(repr(offer.qualified) for offer in self._clashes[name])
            raise SelectionError(f"backend '{name}' is offered by more than one distribution; name {owners}")
        if not name:
            raise SelectionError(f"an empty backend name; {self._installed()}")
        close = difflib.get_close_matches(key, [*by_name, *qualified], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ";"
        raise SelectionError(f"no backend '{printable(name)}'{hint} {self._installed()}")

    def _installed(self) -> str:
        return f"installed: {', '.join(sorted({printable(offer.name) for offer in self.offers})) or 'none'}"


def discover(path: Sequence[str] | None = None) -> Inventory:
    """Read the metadata of all distributions on ``path`` (sys.path if None)."""
    offers: list[Offer] = []
    notes: list[str] = []
    seen: set[str] = set()
    for distribution in metadata.distributions(path=list(path)) if path is not None else metadata.distributions():
        folder = str(getattr(distribution, "_path", "") or "?")
        try:
            entry_points = distribution.read_text("entry_points.txt")
            if entry_points is None or GROUP not in entry_points:
                continue
            name = normalised(distribution.metadata["Name"] or "")
            if not name:
                notes.append(f"skipped {_shown(folder)}: its metadata has no name")
            elif name not in seen:  # found again further down the path: Python imports the first
                found = list(_offers(distribution, name, folder))
                seen.add(name)
                offers += found
        except Exception as error:  # noqa: BLE001 - broken metadata may fail in any way and must cost nobody else
            notes.append(f"skipped {_shown(folder)}: {type(error).__name__}: {printable(str(error))}")
    offers.sort(key=lambda offer: (offer.name, offer.distribution != OWN_DISTRIBUTION, offer.distribution))
    clashes = _clashes(offers, notes)
    return Inventory(tuple(offers), tuple(notes), clashes)


def _offers(distribution: metadata.Distribution, name: str, folder: str) -> Iterator[Offer]:
    requires = tuple(distribution.requires or ())
    version = distribution.version or "unknown"
    for entry_point in distribution.entry_points:
        if entry_point.group == GROUP:
            yield Offer(entry_point.name, entry_point.value.strip(), name, version, folder, requires)


def _clashes(offers: list[Offer], notes: list[str]) -> dict[str, tuple[Offer, ...]]:
    """Names that several distributions offer; a built-in keeps its bare name, with a note."""
    by_name: dict[str, list[Offer]] = {}
    for offer in offers:
        by_name.setdefault(offer.name, []).append(offer)
    clashes = {}
    for name, rivals in by_name.items():
        if len(rivals) < 2:
            continue
        if rivals[0].distribution == OWN_DISTRIBUTION:
            others = ", ".join(repr(offer.qualified) for offer in rivals[1:])
            notes.append(
                f"'{printable(name)}' is the built-in backend; another offers that name too: select it with {others}"
            )
        else:
            clashes[name] = tuple(rivals)
    return clashes


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


# --- requirements -------------------------------------------------------------------------------------------


def _of_extra(requires: Iterable[str], extra: str) -> Iterator[str]:
    """The requirements that only this extra brings, without their markers."""
    for text in requires:
        if "extra" not in text or extra not in text:
            continue
        requirement = _requirement(text)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            requirement.marker = None
            yield str(requirement)


def _requirement(text: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(text)


def _lacking(text: str) -> str:
    """What is wrong with a requirement in this environment; empty when it is satisfied."""
    requirement = _requirement(text)
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement}, which is not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement}, but {found} is installed"


# --- how to install -----------------------------------------------------------------------------------------


def install_line(offer: Offer) -> str:
    """The line that installs an offer's requirements into the environment that runs this.

    It installs the requirements and not ``compare-ag[torch]``: from a source tree that name may not exist on any
    index, and the constraints beside it keep torch from bringing gigabytes of accelerator libraries.
    """
    wanted = [shlex.quote(text) for text in offer.requirements]
    python = shlex.quote(_near(sys.executable))
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx inject {OWN_DISTRIBUTION} {' '.join(wanted)}"
    constraints = _constraints() if offer.distribution == OWN_DISTRIBUTION else None
    options = [] if constraints is None else ["-c", shlex.quote(_near(constraints))]
    if not _has_pip():
        return " ".join(["uv pip install --python", python, *options, *wanted])
    return " ".join([python, "-m pip install", *options, *wanted])


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


def _near(path: str) -> str:
    """The path relative to the current folder where it lies below it."""
    here = os.getcwd()
    absolute = os.path.abspath(path)
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else absolute


def _shown(folder: str) -> str:
    return printable(_near(folder))
