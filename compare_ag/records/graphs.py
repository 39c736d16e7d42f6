"""The graph of one loss as several backends recorded it, beside the quantities that mathematics names: records.

A node carries what its backend said (operation, inputs, value, gradient) and what the host found: the quantity whose
numbers these are, and by how much they miss it in units of a tolerance. One document holds the graphs of all backends
at the same weights, so that a reader sees which nodes are the same thing under other names. A run directory keeps it as
``graph.json``; ``compare-ag graph --json`` prints it.

Schema history
    1.0  first version
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from compare_ag.records import Real, RecordError, read_json, real, record_bytes, save_file
from compare_ag.records.ranges import LARGEST, is_real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compare_ag.records import Run

FILE = "graph.json"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, unknown fields of later minor versions are ignored."""


class GraphSchema(_Part, frozen=True, kw_only=True):
    """Name and version of the document."""

    name: str = "compare-ag/graph"
    major: int = 1
    minor: int = 0


class Numbers(_Part, frozen=True, kw_only=True):
    """A value or a gradient: all numbers where they are few, else the first ones with the norm and sum of all."""

    shape: list[int]
    dtype: str
    values: list[Real]
    """in C order"""
    norm: Real
    """‖·‖₂ of all numbers; NaN where not all are finite"""
    total: Real
    """their sum"""

    @property
    def size(self) -> int:
        """How many there are."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def whole(self) -> bool:
        """All numbers are here."""
        return len(self.values) == self.size


class Quantity(_Part, frozen=True, kw_only=True):
    """Something that mathematics names on the way from the weights to the loss, with its exact numbers."""

    symbol: str
    """as a reader writes it: ``z``, ``log p``, ``−f``"""
    meaning: str
    """how it comes about: ``X w + b``"""
    value: Numbers
    gradient: Numbers | None
    """∂f/∂ of it; None for data and constants"""


class GraphNode(_Part, frozen=True, kw_only=True):
    """One node of one backend's graph; nodes are named by their positions, inputs before what is made of them."""

    operation: str
    role: str
    """parameter, input, constant, operation or loss"""
    inputs: list[int]
    arrival: int | None = None
    """when its gradient arrived: 0 for the loss"""
    value: Numbers | None = None
    gradient: Numbers | None = None
    quantity: int | None = None
    """position among the document's quantities; None where it matches none"""
    value_ratio: Real | None = None
    gradient_ratio: Real | None = None
    """observed/tolerance; above 1 is wrong. None: there is nothing to compare, or nothing can be decided"""

    @property
    def wrong(self) -> bool:
        """Its value or its gradient lies outside of its tolerance."""
        ratios = [float(ratio) for ratio in (self.value_ratio, self.gradient_ratio) if ratio is not None]
        return any(not ratio <= 1.0 for ratio in ratios)


class BackendGraph(_Part, frozen=True, kw_only=True):
    """What came of asking one backend for its graph."""

    backend: str
    status: str = "ok"
    """ok, disagree, not-offered, or how it failed"""
    message: str
    """a sentence on what was found"""
    nodes: list[GraphNode] = []
    origins: list[int] = []
    """nodes whose gradient is wrong while those of all nodes made of them are right: where the fault begins"""


class GraphDocument(_Part, frozen=True, kw_only=True):
    """The graphs of all backends at the same weights, and the quantities they were compared with."""

    schema: GraphSchema = GraphSchema()
    problem: str
    loss: str
    dtype: str
    l2: float
    examples: int
    """of the batch"""
    features: int
    step: int
    """of the training: after so many updates of the reference"""
    quantities: list[Quantity]
    """in the order of forward"""
    graphs: list[BackendGraph]
    note: str = ""
    """why nothing was compared, where nothing was"""


def write_graphs(folder: Path, document: GraphDocument) -> str:
    """Write ``graph.json`` into a run directory; return its name. Raises `SaveError`."""
    save_file(folder, FILE, record_bytes(document))
    return FILE


def read_graphs(run: Run) -> GraphDocument | None:
    """The graphs that a run recorded; None where it did not. Raises `RecordError` where the file is damaged."""
    if run.manifest.graph is None:
        return None
    document: GraphDocument = read_json(run.path / FILE, GraphDocument)
    if document.schema.major != GraphSchema().major:
        raise RecordError(f"{run.path / FILE} has schema version {document.schema.major}.{document.schema.minor}")
    for fault in _faults(document):
        raise RecordError(f"{run.path / FILE} is damaged: {fault}")
    return document


def _faults(document: GraphDocument) -> Iterator[str]:
    """What is wrong with the graphs: numbers that are none, and nodes that point at what is not there."""
    for i, quantity in enumerate(document.quantities):
        yield from _of_numbers(f"quantities.{i}", quantity.value, quantity.gradient)
    for graph in document.graphs:
        if any(not 0 <= origin < len(graph.nodes) for origin in graph.origins):
            yield f"origins of {graph.backend!r} name what is no node"
        for i, node in enumerate(graph.nodes):
            at = f"node {i} of {graph.backend!r}"
            yield from _of_numbers(at, node.value, node.gradient)
            if any(not 0 <= source < i for source in node.inputs):
                yield f"{at} is made of what is no node before it"
            if node.quantity is not None and not 0 <= node.quantity < len(document.quantities):
                yield f"{at} matches the quantity {node.quantity}, which there is not"
            if any(ratio is not None and not _is_ratio(ratio) for ratio in (node.value_ratio, node.gradient_ratio)):
                yield f"{at} has a ratio that is no number of 0 or more"


def _of_numbers(at: str, *parts: Numbers | None) -> Iterator[str]:
    for numbers in parts:
        if numbers is None:
            continue
        if any(not 0 <= extent <= LARGEST for extent in numbers.shape) or len(numbers.values) > numbers.size:
            yield f"{at} has {len(numbers.values)} numbers and the shape {numbers.shape}"
        if not all(map(is_real, (*numbers.values, numbers.norm, numbers.total))):
            yield f"{at} holds what is no number"


def _is_ratio(ratio: Real) -> bool:
    return is_real(ratio) and not float(ratio) < 0


def as_json(document: GraphDocument | TraceDocument) -> dict[str, Any]:
    """The document for ``--json``."""
    found: dict[str, Any] = msgspec.to_builtins(document)
    return found


# --- one step in slow motion --------------------------------------------------------------------------------


class TraceSchema(_Part, frozen=True, kw_only=True):
    """Name and version of the document."""

    name: str = "compare-ag/trace"
    major: int = 1
    minor: int = 0


class Pair(_Part, frozen=True, kw_only=True):
    """Weights, or a gradient with respect to them."""

    w: Numbers
    b: Numbers


class StepRecord(_Part, frozen=True, kw_only=True):
    """What one backend did in one step, through its own verbs; None where it did not get there."""

    backend: str
    status: str
    """ok, disagree, undecidable, or how it failed"""
    message: str
    loss: Numbers | None = None
    gradient: Pair | None = None
    after: Pair | None = None
    """the weights that update returned"""
    loss_ratio: Real | None = None
    gradient_ratio: Real | None = None
    update_ratio: Real | None = None
    """observed/tolerance; update: against the exact update by the backend's own gradient"""


class TraceDocument(_Part, frozen=True, kw_only=True):
    """One training step, made by every backend from the same weights, beside the exact one."""

    schema: TraceSchema = TraceSchema()
    learning_rate: float
    before: Pair
    exact: StepRecord
    """rounded once to the tested dtype"""
    steps: list[StepRecord]
    graph: GraphDocument
    """the values of forward and the gradients of backward, node by node"""


def numbers_of(array: np.ndarray[Any, Any], whole: int, head: int) -> Numbers:
    """An array as a record: at most ``whole`` numbers all, of more the first ``head``."""
    flat = np.asarray(array).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        wide = flat.astype(np.float64)
        norm, total = float(np.linalg.norm(wide)), float(wide.sum())
    kept = flat if flat.size <= whole else flat[:head]
    return Numbers(
        shape=list(np.shape(array)),
        dtype=flat.dtype.name,
        values=[real(one) for one in kept.tolist()],
        norm=real(norm),
        total=real(total),
    )
