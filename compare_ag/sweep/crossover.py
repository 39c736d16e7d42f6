"""Where the faster of two backends changes along one axis of sizes, by bisection: it says only what was measured.

    sign of a size   -1 where the interval of the ratio time(A)/time(B) lies below 1, +1 above it, 0 (a tie) where it
                     holds 1; a size whose interval is not known (disturbed, failed, did not fit) has none

Two neighbouring measured sizes of different signs are a bracket. The widest bracket is halved, by size on a log scale,
until each is narrower than a factor `NARROW`, or nothing lies between its ends. A tie zone thus gets two edges, and a
crossover is given as the pair of sizes between which it lies. Between two neighbours of the same sign nothing is looked
for, and nothing is said beyond the ends of the axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

NARROW = 1.2
"""quotient of two sizes between which nobody needs to know more"""
MOST_MEASUREMENTS = 60
"""of one axis: noisy intervals open new brackets for as long as one looks"""

Ratio = tuple[float, float]
"""the interval of time(A)/time(B): its ends, 0 < low ≤ high"""
Measure = Callable[[int], Ratio | None]


class Point(msgspec.Struct, frozen=True):
    """A measured size with the interval of the ratio; low and high are None where it is not known."""

    size: int
    low: float | None
    high: float | None

    @property
    def sign(self) -> int | None:
        """-1 where A is faster, +1 where B is, 0 for a tie, None where that is not known."""
        if self.low is None or self.high is None:
            return None
        return (self.low > 1) - (self.high < 1)


class Change(msgspec.Struct, frozen=True):
    """Between two measured sizes the faster backend is another; ``tied`` are the first and last tie between them."""

    low: int
    high: int
    faster_below: str
    faster_above: str
    tied: tuple[int, int] | None = None


class Crossover(msgspec.Struct, frozen=True):
    """What bisection found along an axis from ``low`` to ``high``: all measured points, and what they bracket."""

    first: str
    second: str
    low: int
    high: int
    points: tuple[Point, ...]
    exhausted: bool = False
    """whether it ended because `MOST_MEASUREMENTS` were made"""

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every pair of next decided sizes at which another backend is faster, in order of size."""
        decided = [point for point in self.points if point.sign]
        found = []
        for below, above in itertools.pairwise(decided):
            if below.sign != above.sign:
                ties = [point.size for point in self._ties() if below.size < point.size < above.size]
                tied = (ties[0], ties[-1]) if ties else None
                found.append(Change(below.size, above.size, self._faster(below), self._faster(above), tied))
        return tuple(found)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Sizes whose ratio is not known."""
        return tuple(point.size for point in self.points if point.sign is None)

    def sentences(self) -> list[str]:
        """The answer for people: each crossover or tie zone, or that there is none between the ends of the axis."""
        changes, ends = self.changes, f"between {self.first} and {self.second} in [{self.low:,}, {self.high:,}]"
        lines = [_describe(change) for change in changes]
        faster = next((self._faster(point) for point in self.points if point.sign), None)
        elsewhere = [
            point.size for point in self._ties() if not any(one.low < point.size < one.high for one in changes)
        ]
        if not changes and faster is not None:
            lines.append(f"no crossover {ends}: {faster} is faster")
        elif not changes:
            lines.append(f"no crossover {ends}: no size is decided for either")
        elif len(changes) > 1:
            lines.append(f"{len(changes)} crossovers were bracketed; between sizes of one winner there may be more")
        if elsewhere:
            lines.append(f"tied at {_listed(elsewhere)}")
        if self.undecided:
            lines.append(f"not decided at {_listed(self.undecided)}")
        if self.exhausted:
            lines.append(f"the search ended after {MOST_MEASUREMENTS} measurements")
        return lines

    def _ties(self) -> list[Point]:
        return [point for point in self.points if point.sign == 0]

    def _faster(self, point: Point) -> str:
        return self.first if point.sign == -1 else self.second


def find_crossover(
    first: str,
    second: str,
    measure: Measure,
    low: int,
    high: int,
    *,
    known: Mapping[int, Ratio | None] | None = None,
    guess: int | None = None,
) -> Crossover:
    """Search the sizes from ``low`` to ``high`` ≥ low ≥ 1 for changes of the faster backend.

    first, second: names of A and B. measure: returns the interval of time(A)/time(B) at a size, None where it cannot be
    decided; called once for each size at most, never outside the ends. known: what was measured before.
    guess: where the first change is expected, as by `costs.propose`; a wrong one costs one measurement.

    Raises ValueError for ends that are no axis.
    """
    if not 1 <= low <= high:
        raise ValueError(f"an axis of sizes runs from 1 or more upwards, not from {low} to {high}")
    points = {size: _point(size, ratio) for size, ratio in (known or {}).items() if low <= size <= high}
    made = 0

    def look(size: int) -> None:
        nonlocal made
        made += 1
        points[size] = _point(size, measure(size))

    for end in (low, high):
        if end not in points:
            look(end)
    if guess is not None and any(below < guess < above for below, above in _brackets(points)):
        look(guess)
    while made < MOST_MEASUREMENTS:
        widest = max(_brackets(points), key=lambda ends: ends[1] / ends[0], default=None)
        if widest is None:
            break
        look(next(_between(*widest, points)))
    ordered = tuple(points[size] for size in sorted(points))
    return Crossover(first, second, low, high, ordered, exhausted=any(_brackets(points)))


def _point(size: int, ratio: Ratio | None) -> Point:
    """Raises ValueError for an interval that is none."""
    if ratio is None:
        return Point(size, None, None)
    low, high = ratio
    if not 0 < low <= high:
        raise ValueError(f"the interval of a ratio at size {size} must have 0 < low ≤ high, not {low} and {high}")
    return Point(size, low, high)


def _brackets(points: Mapping[int, Point]) -> Iterator[tuple[int, int]]:
    """Neighbouring decided or tied sizes of different signs, if wider than `NARROW` and with a size left to measure."""
    signed = [points[size] for size in sorted(points) if points[size].sign is not None]
    for below, above in itertools.pairwise(signed):
        wide = below.sign != above.sign and above.size > NARROW * below.size
        if wide and any(_between(below.size, above.size, points)):
            yield below.size, above.size


def _between(low: int, high: int, points: Mapping[int, Point]) -> Iterator[int]:
    """Sizes to try between two: the middle on a log scale; where that was not decided, a third to either side."""
    for share in (1 / 2, 1 / 3, 2 / 3):
        size = round(math.exp((1 - share) * math.log(low) + share * math.log(high)))
        if low < size < high and size not in points:
            yield size


def _describe(change: Change) -> str:
    start = f"{change.faster_below} is faster up to {change.low:,} and {change.faster_above} from {change.high:,} on"
    if change.tied is None:
        return f"{start}: they cross between these sizes"
    first, last = change.tied
    where = f"at {first:,}" if first == last else f"from {first:,} to {last:,}"
    return f"{start}: they are tied {where}"


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)
