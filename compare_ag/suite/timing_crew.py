"""The workers of one launch of the timing engine, and what is drawn at random for them.

What varies between processes (hash seed, size of the environment) is drawn anew for each launch and is the same for all
its workers, so that the mean over launches is a mean over it and no contestant gets the lucky draw. So is, for each
instance of the data, the content of the heap before the data. A twin differs from its contestant in what it imports and
allocates before it loads the backend.

Knows sessions and benches, and no order of measurement: see `engine`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.speed.schedule import orders
from compare_ag.suite.launches import TWIN, Bench, backend_of
from compare_ag.worker.messages import Ahead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compare_ag.host.discovery import Offer
    from compare_ag.host.session import Session
    from compare_ag.worker.messages import Mutation

LONGEST_PADDING = 4096
"""bytes added to the environment of every worker of a launch"""
PADS = 64
"""blocks of memory allocated before the data"""
TWIN_MODULES = (
    "asyncio", "bz2", "calendar", "concurrent.futures", "csv", "ctypes.util", "decimal", "difflib", "fractions",
    "http.client", "optparse", "sqlite3", "unittest", "xml.dom.minidom", "zipfile",
)  # fmt: skip
TWIN_IMPORTS = 5
LARGEST_TWIN_BLOCK = 1 << 22


class Contestant(NamedTuple):
    """A backend that is timed under a name; two may carry the same offer, so that a backend is compared with itself."""

    name: str
    offer: Offer
    mutation: Mutation | None = None
    before: Ahead | None = None
    """what its process does before it imports the backend: a twin's"""


@dataclass
class Crew:
    """The workers of one launch, from their start to their end."""

    index: int
    generator: np.random.Generator
    """the launch's own randomness, from the run's seed and the number of the launch"""
    hash_seed: int
    padding: int
    """bytes, at most `LONGEST_PADDING`"""
    twin: str
    """the contestant that runs twice; empty for none"""
    contestants: dict[str, Contestant]
    stack: ExitStack = field(default_factory=ExitStack)
    """ends all workers when it is closed"""
    sessions: dict[str, Session] = field(default_factory=dict)
    benches: dict[str, Bench] = field(default_factory=dict)
    """of the workers that are prepared and have not failed"""
    cached: set[str] = field(default_factory=set)
    """contestants for which an earlier worker had left compiled code"""

    @classmethod
    def draw(cls, index: int, seed: int, contestants: Mapping[str, Contestant], twin: str) -> Crew:
        """A crew of these contestants and a twin of one of them (empty: none), without workers yet."""
        generator = np.random.default_rng([seed, 0x71AE, index])
        hash_seed = int(generator.integers(1 << 32))
        padding = int(generator.integers(LONGEST_PADDING))
        members = dict(contestants)
        if twin:
            twin_name = TWIN.format(twin)
            members[twin_name] = contestants[twin]._replace(name=twin_name, before=draw_ahead(generator))
        return cls(index, generator, hash_seed, padding, twin, members)

    def shuffled(self) -> list[str]:
        """The names of the workers that have not failed, in a new random order."""
        return self.shuffle(list(self.benches))

    def shuffle(self, names: list[str]) -> list[str]:
        """These names in a new random order."""
        return next(orders(names, 1, self.generator))

    def backend_of(self, name: str) -> str:
        """The contestant whose twin this is, or the contestant itself."""
        return backend_of(name, self.twin)

    def drop(self, name: str) -> None:
        """End the worker of a contestant that has failed."""
        self.benches.pop(name, None)
        if name in self.sessions:
            self.sessions[name].close()


def draw_ahead(generator: np.random.Generator) -> Ahead:
    """What a twin imports and allocates before its backend: another draw for each."""
    modules = generator.choice(TWIN_MODULES, TWIN_IMPORTS, replace=False).tolist()
    return Ahead(modules, [int(size) for size in generator.integers(1, LARGEST_TWIN_BLOCK, TWIN_IMPORTS)])


def draw_heap_blocks(generator: np.random.Generator) -> list[int]:
    """Sizes in bytes of blocks that fill the holes of a worker's heap and move all that is allocated after them.

    Where vectors lie within a cache line decides a tenth of numpy's time at 10000 x 100, in steps of malloc's 16 bytes
    (283 or 310 µs a step), and follows from what a process allocated before: from the length of its environment, which
    a launch draws once. Drawn for each instance it is averaged within a launch: with six instances the launches'
    standard deviation fell from 3.8 to 1.2 % (12 launches each).
    """
    return [1024 + 16 * int(size) for size in generator.integers(256, size=PADS)]
