"""The fastest correct backend for a size, from saved sweeps of this machine.

A size is known where a cell of it was measured, or where it lies between measured sizes that all have one winner. Near
a crossover the neighbours disagree; then nothing is known and the size is measured. Nothing is extrapolated, and no
cost model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from compare_ag.records.sweeps import CellRecord, Ranking, latest, rank
from compare_ag.sweep.ledger import DEFAULT_PARENT, SWEEP_FILE, Ledger
from compare_ag.sweep.machine import this_machine


class PickQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """For which problem a backend is wanted."""

    n: int
    d: int
    dtype: str = "float64"
    threads: int = 1
    loss: str = "logits"
    backends: tuple[str, ...] = ()
    """those to choose from; none: every available one"""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The backend to take, and how sure that is."""

    question: PickQuestion
    backend: str
    tied: list[str]
    """the others that are not shown to be slower"""
    preferred: bool
    """the preferred backend was taken out of a tie"""
    certainty: str
    """measured: a cell of this very size; between: all measured neighbours have one winner"""
    sentence: str
    cells: list[str]
    """keys of the cells that it rests on"""
    sweeps: list[str]
    """names of their folders"""


class PickSource(msgspec.Struct, frozen=True, kw_only=True):
    """A measured cell, with the folder of its sweep."""

    record: CellRecord
    folder: str
    ranking: Ranking

    @property
    def size(self) -> tuple[int, int]:
        """n and d."""
        return self.record.cell.n, self.record.cell.d


def saved_sweeps(folders: Sequence[Path] = ()) -> list[Ledger]:
    """The sweeps in these folders; of none given, those below reports/sweeps. Raises `RecordError`."""
    if folders:
        return [Ledger.open(folder) for folder in folders]
    return [Ledger.open(file.parent) for file in sorted(DEFAULT_PARENT.glob(f"*/{SWEEP_FILE}"))]


def sources(
    ledgers: Iterable[Ledger], question: PickQuestion, versions: Callable[[Sequence[str]], Mapping[str, str]]
) -> list[PickSource]:
    """The cells that can answer: of this machine, of the installed versions, with all backends to choose from.

    versions: of some backends, as installed now.
    """
    candidates: list[PickSource] = []
    for ledger in ledgers:
        usable = [record for record in _usable(ledger, question) if _is_current(record, versions)]
        candidates += [
            PickSource(record=record, folder=ledger.folder.name, ranking=ranking)
            for record in latest(usable)
            if (ranking := rank(_restricted(record, question))) is not None
        ]
    return candidates


def _usable(ledger: Ledger, question: PickQuestion) -> Iterator[CellRecord]:
    machine = this_machine().id
    for record in ledger.records():
        cell = record.cell
        same = (cell.dtype, cell.threads, cell.loss) == (question.dtype, question.threads, question.loss)
        if (
            same
            and record.status == "ok"
            and record.machine.id == machine
            and set(question.backends) <= set(cell.backends)
        ):
            yield record


def _is_current(record: CellRecord, versions: Callable[[Sequence[str]], Mapping[str, str]]) -> bool:
    from compare_ag.host.discovery import SelectionError

    try:
        return dict(versions(record.cell.backends)) == record.versions
    except SelectionError:  # a backend of that sweep is not installed any more
        return False


def _restricted(record: CellRecord, question: PickQuestion) -> CellRecord:
    """The record with the backends alone that are to choose from."""
    rows = [row for row in record.rows if row.name in question.backends]
    return msgspec.structs.replace(record, rows=rows)


def choose(candidates: Sequence[PickSource], question: PickQuestion, prefer: str | None = None) -> Choice | None:
    """The backend to take; None where the cells do not tell."""
    exact = [source for source in candidates if source.size == (question.n, question.d)]
    if exact:
        newest = max(exact, key=lambda source: source.record.created)
        return _choice(question, [newest], prefer, "measured", newest.ranking.sentence)
    corners = neighbours(candidates, question)
    if not corners:
        return None
    if not set.intersection(*(_as_good(source.ranking) for source in corners)):
        return None  # the fastest changes between the neighbours: somewhere there is a crossover
    sizes = ", ".join(f"n={source.record.cell.n} d={source.record.cell.d}" for source in corners)
    return _choice(question, corners, prefer, "between", f"the fastest at all measured sizes around it ({sizes})")


def neighbours(candidates: Sequence[PickSource], question: PickQuestion) -> list[PickSource]:
    """The measured corners of the smallest box around the size; none where a corner is missing.

    Where the size lies on a measured line, the smallest box is a piece of that line.
    """
    by_size = {source.size: source for source in sorted(candidates, key=lambda source: source.record.created)}
    boxes = []
    sizes_n, sizes_d = ({size[axis] for size in by_size} for axis in (0, 1))
    for low_n in (n for n in sizes_n if n <= question.n):
        for high_n in (n for n in sizes_n if n >= question.n):
            for low_d in (d for d in sizes_d if d <= question.d):
                for high_d in (d for d in sizes_d if d >= question.d):
                    corners = {(n, d) for n in (low_n, high_n) for d in (low_d, high_d)}
                    if corners <= by_size.keys():
                        boxes.append((high_n / low_n * high_d / low_d, sorted(corners)))
    if not boxes:
        return []
    _, smallest = min(boxes)
    return [by_size[corner] for corner in smallest]


def _as_good(ranking: Ranking) -> set[str]:
    """The fastest, and the backends that are equivalent to it."""
    return {ranking.fastest, *(ranking.tied if ranking.equivalent else ())}


def _not_slower(ranking: Ranking) -> set[str]:
    """The fastest, and the backends that are not shown to be slower."""
    return {ranking.fastest, *ranking.tied}


def _choice(question: PickQuestion, based_on: list[PickSource], prefer: str | None, certainty: str, why: str) -> Choice:
    rankings = [ranking.ranking for ranking in based_on]
    candidates = set.intersection(*map(_as_good if certainty == "between" else _not_slower, rankings))
    votes = [ranking.fastest for ranking in rankings if ranking.fastest in candidates]
    fastest = max(sorted(set(votes)) or sorted(candidates), key=votes.count)
    others = sorted(candidates - {fastest})
    backend = prefer if prefer in candidates and prefer is not None else fastest
    words = why if certainty == "measured" else f"{fastest}, {why}"
    if backend != fastest:
        words += f"; {backend} is within the tie and preferred"
    elif prefer is not None and prefer != fastest:
        words += f"; {prefer} is preferred but slower"
    return Choice(
        question=question,
        backend=backend,
        tied=[name for name in [fastest, *others] if name != backend],
        preferred=backend != fastest,
        certainty=certainty,
        sentence=words,
        cells=[source.record.key for source in based_on],
        sweeps=sorted({source.folder for source in based_on}),
    )


def document(choice: Choice) -> dict[str, Any]:
    """The choice as JSON-able values."""
    made: dict[str, Any] = msgspec.to_builtins(choice)
    return made
