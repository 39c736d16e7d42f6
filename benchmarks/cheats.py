"""Has a backend a rank that does not do the work which is timed? And has every honest one its rank?

    python benchmarks/cheats.py

Each way to cheat (`cheating.py`) is installed as a backend and timed beside numpy in a short run; so are the bundled
backends and numpy changed by each of the bundled legitimate mutants, which compute the same thing differently. What
the run says of each is printed. A run that says "disturbed" says nothing about the backend and is repeated.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cheating import CHEATS
from figures import Section, finish, parser
from invocation import invoke, why_unranked
from offered import mutant, offered, source

from compare_ag.records import Run
from compare_ag.selftest.population import specimens

TRIES = 3
"""runs of a backend at most, where they say disturbed"""
TOGETHER = 6
"""legitimate variants in one run"""
BUNDLED = ("torch", "autograd")


def timed(names: Sequence[str], size: str, seconds: float, folder: Path, tries: int = TRIES) -> Run:
    """A run of numpy and these; another one where some of them were disturbed."""
    for i in range(tries):
        place = folder / f"{'-'.join(names)[:60]}.{i}"
        run, _ = invoke(["numpy", *names], size, place, seconds, steps=50)
        if not any(record.cost is not None and record.cost.disturbed for record in run.records.values()):
            break
    return run


def rank_of(run: Run, name: str) -> tuple[bool, str]:
    """Whether a backend has a rank in a run, and what is said of it."""
    record = run[name]
    if why := why_unranked(record):
        return False, why
    assert record.cost is not None
    if record.cost.disturbed:
        return False, "disturbed"
    pair = run.manifest.speed.pair(name, "numpy") if run.manifest.speed is not None else None
    if name == "numpy" or pair is None:
        return pair is not None or name == "numpy", f"{1e6 * record.cost.step.value:.3g} µs a step"
    return True, f"{pair.verdict}, {pair.ratio.value:.3g} of numpy's time"


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="2000x20", help="seed or NxD, of the ways to cheat (default: 2000x20)")
    options.add_argument("--small", default="40x4", help="seed or NxD, of the honest ones (default: 40x4)")
    options.add_argument("--seconds", type=float, default=6.0, help="timing budget of a run (default: 6)")
    options.add_argument("--only", default="", metavar="TEXT", help="those whose name contains this")
    options.add_argument("--tries", type=int, default=TRIES, help=f"runs at most, where disturbed (default: {TRIES})")
    asked = options.parse_args()
    began = time.monotonic()
    section = Section("Who has a rank: ways to be fast without the work, and honest backends")
    cheats = {one.name: one for one in CHEATS if asked.only in one.name}
    honest = {one.label: one for one in specimens() if one.facts.legitimate and asked.only in one.facts.name}
    plugins = {name: source(f"from cheating import {one.backend}", one.backend) for name, one in cheats.items()}
    plugins |= {_name(label): mutant(one.facts.name, one.size) for label, one in honest.items()}
    ranked_cheats, undecided, unranked, bundled = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="compare-ag-cheats-") as name, offered(plugins):
        folder = Path(name)
        for cheat in cheats.values():
            run = timed([cheat.name], asked.size, asked.seconds, folder, asked.tries)
            ranked, said = rank_of(run, cheat.name)
            if ranked:
                ranked_cheats.append(cheat.name)
            if said == "disturbed":
                undecided.append(cheat.name)
            section.notes.append(f"{cheat.name} ({cheat.meaning}): {'RANKED, ' if ranked else ''}{said}")
        labels = list(honest)
        for i in range(0, len(labels), TOGETHER):
            group = {label: _name(label) for label in labels[i : i + TOGETHER]}
            run = timed(list(group.values()), asked.small, asked.seconds, folder, asked.tries)
            for label, backend in group.items():
                ranked, said = rank_of(run, backend)
                if not ranked:
                    unranked.append(label)
                    section.notes.append(f"{label} ({honest[label].facts.meaning}): NOT RANKED, {said}")
        if not asked.only:
            run = timed(BUNDLED, "seed", asked.seconds, folder, asked.tries)
            bundled = [backend for backend in ("numpy", *BUNDLED) if not rank_of(run, backend)[0]]
            section.notes += [f"{backend}: NOT RANKED, {rank_of(run, backend)[1]}" for backend in bundled]
    section.add(f"of {len(cheats)} ways to cheat, ranked", [len(ranked_cheats)], most=0)
    section.add("ways to cheat that every run calls disturbed, so that nothing is shown", [len(undecided)], most=0)
    section.add(f"of {len(honest)} legitimate variants, without a rank", [len(unranked)], most=0)
    if not asked.only:
        section.add(f"of {1 + len(BUNDLED)} bundled backends, without a rank", [len(bundled)], most=0)
    return finish(section, began, asked.json)


def _name(label: str) -> str:
    """A mutant's label as the name of a backend: at most 32 letters, digits, hyphens."""
    return label.partition("@")[0][:32]


if __name__ == "__main__":
    sys.exit(main())
