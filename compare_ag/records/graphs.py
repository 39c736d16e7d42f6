"""Records of graphs: one loss as several backends recorded it, beside the quantities that mathematics names.

A node holds what its backend reported (operation, inputs, value, gradient) and what the host derived: the quantity with
these numbers, and the deviation from it in units of a tolerance. One document holds the graphs of all backends at the
same weights, so that a reader sees which nodes are the same quantity under different names. It is ``graph.json`` in a
run directory, and the output of ``compare-ag graph --json``.

Schema history
    1.0  first version
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from compare_ag.records import Real, RecordError, read_json, real, record_bytes, save_file
from compare_ag.records.base import Record
from compare_ag.records.ranges import LARGEST, is_real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compare_ag.records import Run

FILE = "graph.json"


class GraphSchema(Record, frozen=True, kw_only=True):
    """Name and version of the document."""

    name: str = "compare-ag/graph"
    major: int = 1
    minor: int = 0


class Numbers(Record, frozen=True, kw_only=True):
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
        """The count of all numbers, recorded or not."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def complete(self) -> bool:
        """Whether all numbers are recorded."""
        return len(self.values) == self.size


class Quantity(Record, frozen=True, kw_only=True):
    """Something that mathematics names on the way from the weights to the loss, with its exact numbers."""

    symbol: str
    """as a reader writes it: ``z``, ``log p``, ``−f``"""
    meaning: str
    """how it comes about: ``X w + b``"""
    value: Numbers
    gradient: Numbers | None
    """∂f/∂ of it; None for data and constants"""


class GraphNode(Record, frozen=True, kw_only=True):
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


class BackendGraph(Record, frozen=True, kw_only=True):
    """The graph of one backend, or the reason why there is none."""

    backend: str
    status: str = "ok"
    """ok, disagree, not-offered, or how it failed"""
    message: str
    """a sentence on the result"""
    nodes: list[GraphNode] = []
    origins: list[int] = []
    """nodes whose gradient is wrong while those of all nodes made of them are right: where the fault begins"""


class GraphDocument(Record, frozen=True, kw_only=True):
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
    """why nothing was compared; empty where it was"""


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
    for fault in _graph_faults(document):
        raise RecordError(f"{run.path / FILE} is damaged: {fault}")
    return document


def _graph_faults(document: GraphDocument) -> Iterator[str]:
    """Faults of the graphs: texts that are not numbers, references to nodes or quantities that do not exist."""
    for i, quantity in enumerate(document.quantities):
        yield from _number_faults(f"quantities.{i}", quantity.value, quantity.gradient)
    for graph in document.graphs:
        if any(not 0 <= origin < len(graph.nodes) for origin in graph.origins):
            yield f"origins of {graph.backend!r} contain a number that is not a node"
        for i, node in enumerate(graph.nodes):
            name = f"node {i} of {graph.backend!r}"
            yield from _number_faults(name, node.value, node.gradient)
            if any(not 0 <= source < i for source in node.inputs):
                yield f"{name} has an input that is not a node before it"
            if node.quantity is not None and not 0 <= node.quantity < len(document.quantities):
                yield f"{name} matches the quantity {node.quantity}, which does not exist"
            if any(ratio is not None and not _is_ratio(ratio) for ratio in (node.value_ratio, node.gradient_ratio)):
                yield f"{name} has a ratio that is not a number of 0 or more"


def _number_faults(name: str, *parts: Numbers | None) -> Iterator[str]:
    for numbers in parts:
        if numbers is None:
            continue
        if any(not 0 <= extent <= LARGEST for extent in numbers.shape) or len(numbers.values) > numbers.size:
            yield f"{name} has {len(numbers.values)} numbers and the shape {numbers.shape}"
        if not all(map(is_real, (*numbers.values, numbers.norm, numbers.total))):
            yield f"{name} contains a text that is not a number"


def _is_ratio(ratio: Real) -> bool:
    return is_real(ratio) and not float(ratio) < 0


def as_json(document: GraphDocument | TraceDocument) -> dict[str, Any]:
    """The document for ``--json``."""
    content: dict[str, Any] = msgspec.to_builtins(document)
    return content


# --- one step, number by number ---


class TraceSchema(Record, frozen=True, kw_only=True):
    """Name and version of the document."""

    name: str = "compare-ag/trace"
    major: int = 1
    minor: int = 0


class Pair(Record, frozen=True, kw_only=True):
    """Weights, or a gradient with respect to them."""

    w: Numbers
    b: Numbers


class StepRecord(Record, frozen=True, kw_only=True):
    """The numbers of one backend in one step, through its own methods; None where it failed before."""

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


class TraceDocument(Record, frozen=True, kw_only=True):
    """One training step, made by every backend from the same weights, beside the exact one."""

    schema: TraceSchema = TraceSchema()
    learning_rate: float
    before: Pair
    exact: StepRecord
    """rounded once to the tested dtype"""
    steps: list[StepRecord]
    graph: GraphDocument
    """the values of forward and the gradients of backward, node by node"""


def numbers_of(array: np.ndarray[Any, Any], most: int, head: int) -> Numbers:
    """An array as a record: all numbers where there are at most ``most``, else the first ``head``."""
    flat = np.asarray(array).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        in_float64 = flat.astype(np.float64)
        norm, total = float(np.linalg.norm(in_float64)), float(in_float64.sum())
    recorded = flat if flat.size <= most else flat[:head]
    return Numbers(
        shape=list(np.shape(array)),
        dtype=flat.dtype.name,
        values=[real(value) for value in recorded.tolist()],
        norm=real(norm),
        total=real(total),
    )
