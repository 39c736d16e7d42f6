"""One dated page from the figures that benchmarks have kept.

    python benchmarks/report.py figures/*.json -o reports/gallery/benchmarks-2026-11-24.md

The machine is described as it is where this program runs: run it where the benchmarks ran.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from figures import Figure, cells

from compare_ag.host.environment import capture


def machine() -> str:
    """What the figures were measured on, without anything that names its owner."""
    seen = capture(1)
    versions = ", ".join(f"{name} {version}" for name, version in seen["libraries"].items())
    return (
        f"{seen['cpu']}, {seen['logical_cpus']} CPUs of which {len(seen['usable_cpus'])} usable, "
        f"{seen['memory_bytes'] / 1e9:.0f} GB; {seen['system']}, {seen['implementation']} {seen['python']}; {versions}."
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="+", type=Path, help="what benchmarks kept with --json")
    options.add_argument("-o", "--output", type=Path, required=True)
    options.add_argument("--date", default=datetime.now(UTC).date().isoformat(), help="of the measurements")
    options.add_argument("--note", action="append", default=[], help="a sentence for the head; repeat it for several")
    asked = options.parse_args()
    lines = [f"# Benchmarks, {asked.date}", "", machine(), ""]
    lines += [
        "Every figure has its 95 % interval, and every aim is listed whether it is met or not. Each section names the",
        "command that prints it.",
        "",
    ]
    lines += [line for note in asked.note for line in (note, "")]
    for path in asked.files:
        section = json.loads(path.read_text())
        lines += [f"## {section['title']}", "", f"`{section['command']}`, {section['seconds'] / 60:.1f} min", ""]
        lines += ["| figure | value | 95 % interval | aim | |", "|---|---|---|---|---|"]
        lines += [f"| {figure['name']} | {' | '.join(cells(Figure(**figure)))} |" for figure in section["figures"]]
        lines += ["", *(line for note in section["notes"] for line in (note, ""))]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text("\n".join(lines).rstrip() + "\n")
    print(asked.output)


if __name__ == "__main__":
    main()
