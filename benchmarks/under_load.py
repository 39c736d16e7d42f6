"""Does `compare` see changes that are not there? Runs of the same code under load, each compared with every other.

    python benchmarks/under_load.py --keep DIR

For each load `compare-ag run --quick` is started a dozen times with three backends, and all pairs of these runs are
compared as `compare-ag compare` compares them. Whatever it calls faster or slower is false. A comparison that decides
says "equivalent"; how many do when the machine is quiet is what the engine's caution may not cost.
``--keep DIR`` keeps the runs, and goes on from those that it holds.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from figures import Section, finish, parser, rate_of
from invocation import started as invoked
from invocation import why_unranked
from loads import LOADS, load

from compare_ag.compare import compare_runs
from compare_ag.records import Run, load_run
from compare_ag.speed.rates import Rate

BACKENDS = "torch,numpy,autograd"
NAMES = {
    "none": "quiet",
    "bursts": "bursts on the timed CPU",
    "loops": "a loop on each CPU",
    "free": "bursts on any CPU",
}
FALSE = ("faster", "slower")


def runs_under(kind: str, asked_runs: int, command: Sequence[str], folder: Path) -> list[Run]:
    """As many runs as asked for, those that the folder holds among them."""
    found = []
    with load(kind):
        for i in range(asked_runs):
            place = folder / f"{kind}{i}"
            if (place / "manifest.json").exists():
                run = load_run(place)
            else:
                run, _ = invoked([*command, "-o", str(place)], place)
            found.append(run)
    return found


def add_figures(section: Section, kind: str, runs: Sequence[Run]) -> None:
    """What all pairs of the runs say."""
    pairs = list(itertools.combinations(runs, 2))
    comparisons = [compare_runs(one, other) for one, other in pairs]
    said = [one for comparison in comparisons for one in comparison.backends if one.speed.verdict != "yardstick"]
    words = Counter(one.speed.verdict for one in said)
    name = NAMES[kind]
    false = sum(any(one.speed.verdict in FALSE for one in comparison.backends) for comparison in comparisons)
    section.add(f"{name}: of {len(pairs)} pairs of runs, with a false faster or slower", [false], most=0)
    decided = Rate.of(one.speed.verdict == "equivalent" for one in said)
    section.add(f"{name}: decided, {decided.hits} of {decided.tries} verdicts", rate_of(decided), "%", scale=100)
    section.add(
        f"{name}: verdicts that are not decided", [len(said) - decided.hits - words["faster"] - words["slower"]]
    )
    costs = [record.cost for run in runs for record in run.records.values()]
    disturbed = Rate.of(cost is not None and cost.disturbed for cost in costs)
    section.add(
        f"{name}: backends disturbed, {disturbed.hits} of {disturbed.tries}", rate_of(disturbed), "%", scale=100
    )
    section.notes.append(f"{name}: " + ", ".join(f"{word} {count}" for word, count in words.most_common()))
    for word in FALSE:
        examples = (one for one in said if one.speed.verdict == word and one.speed.ratio is not None)
        for one in itertools.islice(examples, 3):
            ratio = one.speed.ratio
            assert ratio is not None
            section.notes.append(f"{name}: {one.name} {word}, {ratio.value:.3f} ({ratio.low} to {ratio.high})")
    reasons = Counter(one.speed.note for one in said if one.speed.verdict not in (*FALSE, "equivalent"))
    section.notes += [f"{name}: {count} times: {reason}" for reason, count in reasons.most_common(3) if reason]
    unranked = Counter(
        f"{record.name} {why}" for run in runs for record in run.records.values() if (why := why_unranked(record))
    )
    section.notes += [f"{name}: unranked {count} times: {why}" for why, count in unranked.most_common(3)]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=12, help="for each load (default: 12)")
    options.add_argument("--loads", default="none,bursts,loops", help=f"some of {', '.join(LOADS)}, in this order")
    options.add_argument("--backends", default=BACKENDS, help=f"of every run (default: {BACKENDS})")
    options.add_argument("--problem", default="seed", help="as `compare-ag run` takes it (default: seed)")
    options.add_argument("--steps", type=int, default=500, help="of the training, which is not timed (default: 500)")
    options.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the runs here, and go on from those that it has"
    )
    asked = options.parse_args()
    began = time.monotonic()
    kinds = asked.loads.split(",")
    if unknown := set(kinds) - set(LOADS):
        options.error(f"--loads: {', '.join(sorted(unknown))}; expected some of {', '.join(LOADS)}")
    command = [
        sys.executable, "-m", "compare_ag", "run", "--backends", asked.backends, "--problem", asked.problem,
        "--steps", str(asked.steps), "--quick", "--quiet",
    ]  # fmt: skip  # a command line
    section = Section(f"Runs of the same code compared: {asked.backends} on {asked.problem}, `--quick`")
    with tempfile.TemporaryDirectory(prefix="compare-ag-under-load-") as name:
        for kind in kinds:
            add_figures(section, kind, runs_under(kind, asked.runs, command, asked.keep or Path(name)))
    return finish(section, began, asked.json)


if __name__ == "__main__":
    sys.exit(main())
