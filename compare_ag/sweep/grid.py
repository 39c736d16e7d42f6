"""The grid of a sweep: its axes, its cells in their order, and the key of each cell."""

from __future__ import annotations

import hashlib
import itertools
import platform
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import compare_ag
from compare_ag.problem import DTYPES, LOSS_FORMS, ProblemError
from compare_ag.problem.checks import did_you_mean, match_choice, quoted, real_number, whole_number
from compare_ag.records.sweeps import SweepCell

AXES = ("n", "d", "dtype", "threads", "loss")
KEY_DIGITS = 16
"""hexadecimal digits of a key: of 10,000 cells two share theirs with a probability of 3e-12"""
MOST_CELLS = 100_000


class SweepGrid(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep measures: every combination of the values of its axes."""

    backends: tuple[str, ...] = ()
    """as `compare-ag list` shows them; none: every available one"""
    n: tuple[int, ...] = (10, 1_000, 100_000)
    d: tuple[int, ...] = (2, 20, 200)
    dtype: tuple[str, ...] = ("float64",)
    threads: tuple[int, ...] = (1,)
    loss: tuple[str, ...] = ("logits",)
    steps: int = 100
    l2: float = 0.0
    seed: int = 0
    timing: bool = True
    timing_budget: float = 10.0
    """seconds for each cell"""
    timeout: float = 600.0
    """seconds that each worker may take"""

    def cells(self) -> Iterator[SweepCell]:
        """Every cell: n runs fastest, then d, dtype, threads and loss."""
        for loss, threads, dtype, d, n in itertools.product(self.loss, self.threads, self.dtype, self.d, self.n):
            yield SweepCell(
                backends=self.backends,
                n=n,
                d=d,
                dtype=dtype,
                threads=threads,
                loss=loss,
                steps=self.steps,
                l2=self.l2,
                seed=self.seed,
                timing_budget=self.timing_budget if self.timing else None,
                timeout=self.timeout,
            )

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for this grid."""
        return _digest(msgspec.to_builtins(self))


class Planned(NamedTuple):
    """A cell of a sweep with its identity."""

    cell: SweepCell
    key: str
    versions: dict[str, str]
    purpose: str = "grid"
    """see `CellRecord.purpose`"""


def make_grid(**options: Any) -> SweepGrid:
    """A checked grid from the fields that are given. Raises `ProblemError` where a value cannot be used."""
    grid = SweepGrid(**{name: _checked(name, value) for name, value in options.items() if value is not None})
    count = len(grid.n) * len(grid.d) * len(grid.dtype) * len(grid.threads) * len(grid.loss)
    if count > MOST_CELLS:
        raise ProblemError(f"the grid has {count:,} cells; at most {MOST_CELLS:,} can be swept: take fewer values")
    return grid


def _checked(name: str, value: Any) -> Any:
    """One field's value, with every member of an axis checked. Raises `ProblemError`."""
    if name == "timing":
        if not isinstance(value, bool):
            raise ProblemError(f"timing must be true or false, not {quoted(value)}")
        return value
    if name in ("n", "d", "threads", "dtype", "loss", "backends"):
        members = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not members and name != "backends":
            raise ProblemError(f"{name} needs at least one value")
        return tuple(dict.fromkeys(_member(name, member) for member in members))
    if name in ("steps", "seed"):
        return whole_number(name, _as_whole(value), least=1 if name == "steps" else 0)
    number = real_number(name.replace("_", "-"), value, least=0)
    if name != "l2" and number == 0:
        raise ProblemError(f"{name.replace('_', '-')} must be more than 0 seconds")
    return number


def _member(name: str, value: Any) -> Any:
    """One value of an axis."""
    if name in ("dtype", "loss", "backends"):
        if not isinstance(value, str):
            raise ProblemError(f"{name} must be a text, not {quoted(value)}")
        if name == "backends":
            return value
        return match_choice(name, value, DTYPES if name == "dtype" else LOSS_FORMS)
    return whole_number(name, _as_whole(value), least=2 if name == "n" else 1)


def _as_whole(value: Any) -> Any:
    """``1e3`` as 1000: TOML and people write large integers so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- the TOML file --------------------------------------------------------------------------------------------


def option_names() -> tuple[str, ...]:
    """The keys that a grid's file may hold, as options are written: with hyphens."""
    return tuple(field.replace("_", "-") for field in SweepGrid.__struct_fields__)


def read_grid_file(path: Path) -> dict[str, Any]:
    """The options in a TOML file, by the fields of `SweepGrid`. Raises `ProblemError` for what is not a grid."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProblemError(f"{path} is not TOML: {error}") from None
    names = option_names()
    for key in document:
        if key not in names:
            listing = f"; there are {', '.join(names)}"
            raise ProblemError(f"{path}: unknown key {quoted(key)}{did_you_mean(key, names, listing)}")
    return {key.replace("-", "_"): value for key, value in document.items()}


def grid_file(grid: SweepGrid) -> str:
    """The grid as a TOML file that `read_grid_file` reads back."""
    lines = []
    for name, value in msgspec.to_builtins(grid).items():
        lines.append(f"{name.replace('_', '-')} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Numbers, booleans, texts and lists as TOML writes them; JSON's texts are TOML's."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()


# --- keys -----------------------------------------------------------------------------------------------------


def plan(grid: SweepGrid, versions: Mapping[str, str]) -> list[Planned]:
    """Every cell with its key, in the grid's order."""
    known = dict(versions)
    return [Planned(cell, cell_key(cell, known), known) for cell in grid.cells()]


def cell_key(cell: SweepCell, versions: Mapping[str, str]) -> str:
    """The sha256 of the canonical JSON of a cell and its versions, cut to `KEY_DIGITS` digits."""
    return _digest({"cell": msgspec.to_builtins(cell), "versions": dict(versions)})


def _digest(document: Any) -> str:
    canonical = msgspec.json.encode(document, order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:KEY_DIGITS]


def installed_versions(backends: Sequence[str]) -> dict[str, str]:
    """Versions of host, plugins and frameworks, from metadata alone: no plugin is imported.

    Raises `SelectionError` where a backend cannot be run.
    """
    from packaging.requirements import Requirement

    from compare_ag.host.discovery import discover

    versions = {
        "compare-ag": compare_ag.__version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
    }
    for offer in discover().select(backends):
        versions[offer.distribution] = offer.version
        for name in (Requirement(text).name for text in offer.requirements):
            versions[name] = _version(name)
    return dict(sorted(versions.items()))


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def chosen_backends(backends: Sequence[str]) -> tuple[str, ...]:
    """The names of these backends, or of all available ones, as a run shows them. Raises `SelectionError`."""
    from compare_ag.suite import select

    return tuple(select(list(backends) or None))
