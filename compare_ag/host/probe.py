"""Loads a plugin in a worker, for `compare-ag list --check` and `doctor`, to see whether it can be loaded."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.host.crew import open_session
from compare_ag.host.failures import WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.records import file_stem

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer

PROBE_SECONDS = 60.0
"""seconds that loading may take"""


@dataclass(frozen=True)
class ProbeResult:
    """The result of loading a plugin."""

    ok: bool
    status: str
    reason: str
    facts: dict[str, Any]
    """api_version, dtypes, splits, versions, import_seconds; empty where loading failed"""


def probe(offer: Offer) -> ProbeResult:
    """Load a plugin in a worker and return the outcome; nothing is trained."""
    with tempfile.TemporaryDirectory(prefix="compare-ag-probe-") as logs:
        try:
            with open_session(
                Launch(f"{file_stem(offer.name)}.probe", Path(logs), 1, 0, PROBE_SECONDS), offer
            ) as session:
                loaded = session.load()
                session.finish()
        except WorkerFailure as failure:
            return ProbeResult(False, failure.status, failure.reason, {})
    facts = {
        "api_version": loaded.api_version,
        "dtypes": loaded.dtypes,
        "splits": loaded.splits,
        "versions": loaded.versions,
        "import_seconds": loaded.import_seconds,
    }
    return ProbeResult(True, "available", "", facts)
