"""Which backends are installed, from package metadata alone.

A backend is an entry point of the group ``compare_ag``; its name is what people type after ``--backends``. Nothing
here imports a plugin: importing torch to print a list costs a second, and one ``sys.exit()`` at a plugin's import
would end the host. What a distribution's metadata gets wrong costs that distribution its place, nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata

from compare_ag.host.requirements import install_line, lacking, near, normalised, of_extra
from compare_ag.text import printable

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

    def __str__(self) -> str:
        """The name: what pytest-benchmark shows where it groups by the parameter ``ag_backend``."""
        return self.name

    @cached_property
    def requirements(self) -> tuple[str, ...]:
        """What its distribution's extra of the backend's own name asks for."""
        return tuple(dict.fromkeys(of_extra(self.requires, self.distribution, self.name)))

    @cached_property
    def problem(self) -> tuple[str, str]:
        """("", "") when it can be run, else status and reason: ("missing", …) or ("broken", …)."""
        if not is_name(self.name):
            return "broken", "a backend's name is a lower-case letter and up to 31 letters, digits, '-' or '_'"
        if not self.module:
            return "broken", "its entry point names no module"
        try:
            reasons = [reason for text in self.requirements if (reason := lacking(text))]
        except ValueError as error:  # packaging's errors for names, specifiers and markers are ValueErrors
            return "broken", f"its distribution's requirements cannot be read: {printable(str(error).splitlines()[0])}"
        return ("missing", "needs " + " and ".join(reasons)) if reasons else ("", "")

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
        if self.status != "missing":
            return ""
        return install_line(self.requirements, built_in=self.distribution == OWN_DISTRIBUTION)

    @property
    def qualified(self) -> str:
        """``distribution:name``: selects this offer whoever else has the name."""
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True)
class Inventory:
    """All offers, sorted by name, and what was odd about the metadata."""

    offers: tuple[Offer, ...]
    notes: tuple[str, ...] = ()
    """distributions that had to be skipped, names that several distributions offer"""
    _clashes: dict[str, tuple[Offer, ...]] = field(default_factory=dict)

    def available(self) -> list[Offer]:
        """What runs when nothing is named: every available offer whose bare name is unambiguous."""
        return [
            offer for offer in self.offers if offer.status == "available" and self._by_name().get(offer.name) is offer
        ]

    def left_out(self) -> str:
        """Which backends do not run because what they need is not installed, and how to add them; or nothing."""
        missing = [offer for offer in self.offers if offer.status == "missing"]
        if not missing:
            return ""
        requirements = dict.fromkeys(text for offer in missing for text in offer.requirements)
        line = install_line(tuple(requirements), built_in=all(one.distribution == OWN_DISTRIBUTION for one in missing))
        names = ", ".join(dict.fromkeys(printable(offer.name) for offer in missing))
        return f"left out, because what they need is not installed: {names}; to add them: {line}"

    def names(self) -> list[str]:
        """The bare names that select an offer."""
        return sorted(filter(is_name, self._by_name()))

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
        import difflib  # here, for completion pays for every import

        close = difflib.get_close_matches(key, [*by_name, *self._clashes, *qualified], n=1)
        hint = f"; did you mean '{printable(close[0])}'?" if close else ";"
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
    taken: set[str] = set()
    for entry_point in distribution.entry_points:
        if entry_point.group == GROUP:
            if entry_point.name in taken:
                raise ValueError(f"it offers {entry_point.name!r} twice")
            taken.add(entry_point.name)
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
        built_in = rivals[0].distribution == OWN_DISTRIBUTION
        others = " or ".join(repr(offer.qualified) for offer in (rivals[1:] if built_in else rivals))
        if built_in:
            notes.append(
                f"'{printable(name)}' is the built-in backend; another offers that name too: select it with {others}"
            )
        else:
            clashes[name] = tuple(rivals)
            notes.append(f"'{printable(name)}' is offered by more than one distribution: select it with {others}")
    return clashes


def is_name(name: str) -> bool:
    """Whether a backend can be called so."""
    return NAME.fullmatch(name) is not None and _RESERVED.fullmatch(name) is None


def _shown(folder: str) -> str:
    return printable(near(folder))
