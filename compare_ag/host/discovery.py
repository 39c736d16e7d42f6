"""The installed backends, from package metadata alone.

A backend is an entry point of the group ``compare_ag``; its name is the one given to ``--backends``. This module
imports no plugin: importing torch to print a list takes a second, and a ``sys.exit()`` in a plugin's import would end
the host. A distribution with broken metadata is skipped; the others are unaffected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata

from compare_ag.host.requirements import explain_lack, extra_requirements, install_line, normalise_name, relative_path
from compare_ag.text import printable

GROUP = "compare_ag"
OWN_DISTRIBUTION = "compare-ag"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
"""names that some file systems reserve for devices"""


class SelectionError(Exception):
    """The requested backends cannot be run. The message gives the reason and a remedy; the CLI exits 2."""


@dataclass(frozen=True)
class Offer:
    """One backend that a distribution offers."""

    name: str
    module: str
    distribution: str
    """normalised: lower case, hyphens"""
    version: str
    folder: str
    """the folder of its metadata, for messages"""
    requires: tuple[str, ...] = ()
    """all declared requirements of its distribution, extras included"""

    def __str__(self) -> str:
        """The name, as pytest-benchmark shows it when it groups by the parameter ``ag_backend``."""
        return self.name

    @cached_property
    def requirements(self) -> tuple[str, ...]:
        """The requirements of its distribution's extra that has the backend's name."""
        return tuple(dict.fromkeys(extra_requirements(self.requires, self.distribution, self.name)))

    @cached_property
    def problem(self) -> tuple[str, str]:
        """("", "") when it can be run, else status and reason: ("missing", …) or ("broken", …)."""
        if not is_name(self.name):
            return "broken", "a backend's name is a lower-case letter and up to 31 letters, digits, '-' or '_'"
        if not self.module:
            return "broken", "its entry point names no module"
        try:
            reasons = [reason for text in self.requirements if (reason := explain_lack(text))]
        except ValueError as error:  # packaging's errors for names, specifiers and markers are ValueErrors
            return "broken", f"its distribution's requirements cannot be read: {printable(str(error).splitlines()[0])}"
        return ("missing", "needs " + " and ".join(reasons)) if reasons else ("", "")

    @property
    def status(self) -> str:
        """``available``, ``missing`` or ``broken``."""
        return self.problem[0] or "available"

    @property
    def reason(self) -> str:
        """Why it is not available; empty when it is available."""
        return self.problem[1]

    @cached_property
    def install(self) -> str:
        """The exact line that installs the missing requirements into this environment; empty when none is missing."""
        if self.status != "missing":
            return ""
        return install_line(self.requirements, built_in=self.distribution == OWN_DISTRIBUTION)

    @property
    def qualified(self) -> str:
        """``distribution:name``: selects this offer even where another distribution has the same name."""
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True)
class Inventory:
    """All offers, sorted by name, and notes on faulty metadata."""

    offers: tuple[Offer, ...]
    notes: tuple[str, ...] = ()
    """distributions that were skipped, names that several distributions offer"""
    _clashes: dict[str, tuple[Offer, ...]] = field(default_factory=dict)

    def available(self) -> list[Offer]:
        """The default selection: every available offer whose bare name is unambiguous."""
        return [
            offer for offer in self.offers if offer.status == "available" and self._by_name().get(offer.name) is offer
        ]

    def left_out(self) -> str:
        """A note on backends that are left out for missing requirements, and how to add them; empty without any."""
        missing = [offer for offer in self.offers if offer.status == "missing"]
        if not missing:
            return ""
        requirements = dict.fromkeys(text for offer in missing for text in offer.requirements)
        line = install_line(
            tuple(requirements), built_in=all(offer.distribution == OWN_DISTRIBUTION for offer in missing)
        )
        names = ", ".join(dict.fromkeys(printable(offer.name) for offer in missing))
        return f"left out, because what they need is not installed: {names}; to add them: {line}"

    def names(self) -> list[str]:
        """The bare names that select an offer."""
        return sorted(filter(is_name, self._by_name()))

    def select(self, names: Sequence[str]) -> list[Offer]:
        """The offers of these names, in their order, without repetition.

        Raises `SelectionError` for an unknown or ambiguous name and for an offer that cannot be run.
        """
        chosen: dict[str, Offer] = {}
        for name in names:
            offer = self._find(name)
            chosen.setdefault(offer.qualified, offer)
        if not chosen:
            raise SelectionError(f"no backend is named; {self._list_installed()}")
        for offer in chosen.values():
            if offer.status == "missing":
                raise SelectionError(f"backend '{offer.name}' {offer.reason}; install it with: {offer.install}")
            if offer.status == "broken":
                raise SelectionError(f"backend '{printable(offer.name)}' of {offer.distribution}: {offer.reason}")
        return list(chosen.values())

    def _by_name(self) -> dict[str, Offer]:
        """Bare name → its offer; names that several distributions offer are left out."""
        return {offer.name: offer for offer in reversed(self.offers) if offer.name not in self._clashes} | {
            offer.name: offer for offer in self.offers if offer.distribution == OWN_DISTRIBUTION
        }

    def _find(self, name: str) -> Offer:
        by_name = self._by_name()
        qualified = {offer.qualified: offer for offer in self.offers}
        distribution, colon, bare = name.partition(":")
        key = f"{normalise_name(distribution)}:{bare}" if colon else name
        if key in by_name:
            return by_name[key]
        if key in qualified:
            return qualified[key]
        if name in self._clashes:
            owners = " or ".join(repr(offer.qualified) for offer in self._clashes[name])
            raise SelectionError(f"backend '{name}' is offered by more than one distribution; name {owners}")
        if not name:
            raise SelectionError(f"an empty backend name; {self._list_installed()}")
        import difflib  # imported late, because shell completion pays for every import

        close = difflib.get_close_matches(key, [*by_name, *self._clashes, *qualified], n=1)
        hint = f"; did you mean '{printable(close[0])}'?" if close else ";"
        raise SelectionError(f"no backend '{printable(name)}'{hint} {self._list_installed()}")

    def _list_installed(self) -> str:
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
            name = normalise_name(distribution.metadata["Name"] or "")
            if not name:
                notes.append(f"skipped {_show_path(folder)}: its metadata has no name")
            elif name not in seen:  # a second copy further down the path: Python imports the first
                offered = list(_offers(distribution, name, folder))
                seen.add(name)
                offers += offered
        except Exception as error:  # noqa: BLE001 - broken metadata may fail in any way and must not affect others
            notes.append(f"skipped {_show_path(folder)}: {type(error).__name__}: {printable(str(error))}")
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
    """Names that several distributions offer. A built-in backend keeps its bare name, with a note."""
    by_name: dict[str, list[Offer]] = {}
    for offer in offers:
        by_name.setdefault(offer.name, []).append(offer)
    clashes = {}
    for name, rivals in by_name.items():
        if len(rivals) < 2:
            continue
        built_in = rivals[0].distribution == OWN_DISTRIBUTION
        choices = " or ".join(repr(offer.qualified) for offer in (rivals[1:] if built_in else rivals))
        if built_in:
            notes.append(
                f"'{printable(name)}' is the built-in backend; another offers that name too: select it with {choices}"
            )
        else:
            clashes[name] = tuple(rivals)
            notes.append(f"'{printable(name)}' is offered by more than one distribution: select it with {choices}")
    return clashes


def is_name(name: str) -> bool:
    """Whether a backend may have this name."""
    return NAME.fullmatch(name) is not None and _RESERVED.fullmatch(name) is None


def _show_path(folder: str) -> str:
    return printable(relative_path(folder))
