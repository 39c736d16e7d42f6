"""The installed mutants: each plugin of mutants lists them in a worker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from compare_ag.host.crew import open_session
from compare_ag.host.launch import Launch
from compare_ag.worker.messages import MutantFacts, Mutation

GROUP = "compare_ag_mutants"
"""entry points: name = module with the hook ``compare_ag_mutants()``"""
LIST_SECONDS = 60.0


@dataclass(frozen=True)
class Specimen:
    """A mutant in one of its sizes."""

    module: str
    facts: MutantFacts
    size: float

    @property
    def mutation(self) -> Mutation:
        """The message to a worker."""
        return Mutation(self.module, self.facts.name, self.size)

    @property
    def label(self) -> str:
        """For people and file names: ``gradient-scaled@1e-06``."""
        return self.facts.name if len(self.facts.sizes) == 1 else f"{self.facts.name}@{self.size:g}"


def modules() -> list[str]:
    """The modules of all installed plugins of mutants, in the order of their names."""
    return sorted({point.value for point in metadata.entry_points(group=GROUP)})


def mutants(module: str) -> list[MutantFacts]:
    """The mutants of one plugin. Raises `host.failures.WorkerFailure` where it cannot be loaded."""
    with (
        tempfile.TemporaryDirectory(prefix="compare-ag-mutants-") as logs,
        open_session(Launch("mutants", Path(logs), 1, 0, LIST_SECONDS)) as session,
    ):
        facts = session.list_mutants(module)
        session.finish()
    return facts


def specimens(only: str | None = None) -> list[Specimen]:
    """Every mutant and legitimate variant in every size; ``only``: those whose name contains this text."""
    return [
        Specimen(module, facts, size)
        for module in modules()
        for facts in mutants(module)
        if only is None or only in facts.name
        for size in facts.sizes
    ]
