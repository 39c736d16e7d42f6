"""Random changes of run directories, through everything that reads one: no bug, no hang, no silently other number.

    python scripts/run_fuzz.py --changes 20000

Each change is made to a copy of a small run: bytes of any file, fields of manifest, records and graph, arrays, or whole
files (missing, swapped, a pipe, a directory in its place). After half of them all hashes are renewed, those in records
too. Then the readers of show, export and compare read the copy, for 1 in 20 verify, for 1 in 50 report. A reader may
refuse with the project's own error. Counted are other exceptions (bugs), readers that take more than `PATIENCE` seconds
(hangs), and changes that are neither refused, nor found by verify, although hashes or a recomputation tell (silent).
The exit code is 1 where any of the three is not 0; each is printed with what was changed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

import compare_ag
from compare_ag import records
from compare_ag.audit import intact, recomputed
from compare_ag.audit.levels import compare
from compare_ag.compare import ComparisonError, compare_runs
from compare_ag.records import RecordError, Run
from compare_ag.records.files import array_bytes
from compare_ag.records.graphs import read_graphs
from compare_ag.records.sums import SUMS, sha256
from compare_ag.report.markdown import run_markdown
from compare_ag.report.page import render
from compare_ag.report.screen import print_screen
from compare_ag.report.spreadsheet import each_table
from compare_ag.report.terminal import print_run
from compare_ag.report.whole import run_json
from compare_ag.speed.schedule import Settings

PATIENCE = 30
VALUES: list[Any] = [
    0, -1, 1, 4, 2**31, 2**53 + 1, 10**30, 0.0, -0.5, 1e308, 1e-320, None, True, False, "", "banana", "nan", "inf",
    "-inf", "numpy", "ok", "disagree", "../../x", "\x00", "\ud83d", [], {}, [0], {"a": 1}, [[]],
]  # fmt: skip
DERIVED = {
    "records": ("status", "verdict", "fused_verdict", "convergence", "published", "repeatable", "repetition", "cost"),
    "manifest.json": ("exit_code", "max_pair_difference", "consensus_is_wrong", "problem", "baseline", "reference"),
}
"""fields that a recomputation tells"""
GIVEN = {
    "import_seconds", "pinned", "threads_observed", "blocks_judged", "blocks_exact", "blocks_not_judged", "curvature",
    "interface_seconds", "steps_per_block", "lead_in", "timed_by",
}  # fmt: skip
"""fields inside of those that are facts of their own"""
BRIEF = Settings("brief", 0.1, 0.01, 2, 1, instances=1, most_instances=1, rounds=4)


class HangError(Exception):
    """A reader took too long."""


def _hung(_number: int, _frame: FrameType | None) -> None:
    raise HangError


def bases(folder: Path) -> list[Run]:
    """The small runs that are changed."""
    return [
        compare_ag.run(["numpy", "autograd"], steps=20, timing=BRIEF, output=folder / "timed"),
        compare_ag.run(
            ["numpy"], "synthetic:n=20,d=3", steps=20, batch_size=4, timing=False, output=folder / "batches"
        ),
    ]


# --- changes


def change_bytes(data: bytes, dice: random.Random) -> bytes:
    """One to three bytes or pieces."""
    made = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(made) + 1)
        way = dice.randrange(5)
        if way == 0 and at < len(made):
            made[at] ^= 1 << dice.randrange(8)
        elif way == 1 and at < len(made):
            made[at] = dice.randrange(256)
        elif way == 2:
            del made[at : at + dice.randrange(1, 64)]
        elif way == 3:
            made[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 8)))
        else:
            made[at : at + 8] = made[: dice.randrange(1, 9)]
    return bytes(made)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON document."""
    if isinstance(document, dict | list):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from places(document[key])


def change_fields(data: bytes, dice: random.Random) -> bytes:
    """One or two fields: another value, a neighbour's, a number scaled, or none."""
    document = json.loads(data)
    for _ in range(dice.randrange(1, 3)):
        there = list(places(document))
        if not there:
            break
        holder, key = dice.choice(there)
        value, way = holder[key], dice.randrange(4)
        if way == 0 and isinstance(holder, dict):
            del holder[key]
        elif way == 1 and isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = dice.choice([value / 2, value * 2, -value, value + 1])
        elif way == 2:
            other, place = dice.choice(there)
            with contextlib.suppress(KeyError, IndexError):
                holder[key] = json.loads(json.dumps(other[place]))
        else:
            holder[key] = dice.choice(VALUES)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def change_arrays(data: bytes, dice: random.Random) -> bytes:
    """One array: gone, another shape or type, other numbers."""
    with np.load(io.BytesIO(data)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = dice.choice(list(arrays))
    array = arrays[name]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ways: list[Callable[[], Any]] = [
            lambda: array.astype(np.complex128), lambda: array[:0] if array.ndim else array[None],
            lambda: array.ravel(), lambda: array[None], lambda: array * 2, lambda: -array.astype(float),
            lambda: np.full_like(array, 0), lambda: array.astype(float) * np.nan, lambda: array.astype("U8"),
            lambda: array.astype(np.float16), lambda: array[: len(array) // 2] if array.ndim else array,
            lambda: np.repeat(array, 2, axis=0) if array.ndim else array, lambda: array.astype(np.int8),
        ]  # fmt: skip
        way = dice.randrange(len(ways) + 2)
        if way == len(ways):
            del arrays[name]
        elif way == len(ways) + 1:
            arrays[name + "x"] = arrays.pop(name)
        else:
            arrays[name] = ways[way]()
    return array_bytes(arrays)


def change_file(folder: Path, name: str, dice: random.Random) -> str:
    """The whole file; return how."""
    path = folder / name
    way = dice.choice(["missing", "pipe", "directory", "loop", "swapped", "empty"])
    if way == "swapped":
        other = folder / dice.choice(sorted(_files(folder)))
        path.write_bytes(other.read_bytes())
        return f"{way} for {other.name}"
    path.unlink()
    if way == "pipe":
        os.mkfifo(path)
    elif way == "directory":
        path.mkdir()
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "empty":
        path.write_bytes(b"")
    return way


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def renew(folder: Path) -> None:
    """All hashes: those in manifest and records where they can be read, then the sums."""
    for path in [folder / "manifest.json", *(folder / "records").glob("*.json")]:
        if not path.is_file():
            continue
        with contextlib.suppress(ValueError, OSError):
            document = json.loads(path.read_bytes())
            if isinstance(document, dict) and _renewed(document, folder):
                path.write_bytes(json.dumps(document).encode())
    with contextlib.suppress(RecordError):
        records.seal(folder)


def _renewed(document: dict[str, Any], folder: Path) -> bool:
    changed = False
    owners = [document, document["speed"]] if isinstance(document.get("speed"), dict) else [document]
    for owner in owners:
        for key in [key for key in owner if key.endswith("_sha256")]:
            file = "arrays/reference.npz" if key == "reference_sha256" else owner.get(key.removesuffix("_sha256"))
            if isinstance(file, str) and "\0" not in file and (folder / file).is_file() and owner[key] is not None:
                digest = sha256((folder / file).read_bytes())
                changed |= owner[key] != digest
                owner[key] = digest
    return changed


# --- readers


def read_all(folder: Path, base: Run, dice: random.Random) -> None:
    """Through every reader; for 1 in 10 also with all details on the terminal, for 1 in 50 into a page."""
    run = records.load_run(folder)
    console = Console(file=io.StringIO(), width=120)
    print_screen(run, console)
    if not dice.randrange(10):
        print_run(run, console)
    records.document(run)
    run_markdown(run)
    json.loads(run_json(run))
    for _ in each_table(run):
        pass
    read_graphs(run)
    with contextlib.suppress(ComparisonError):
        compare_runs(base, run)
    with contextlib.suppress(ComparisonError):
        compare_runs(run, base)
    if not dice.randrange(50):
        render(run)


def verified(folder: Path) -> bool:
    """Whether the first two levels hold."""
    return not (intact(folder).mismatches or recomputed(records.load_run(folder)).mismatches)


def differs(folder: Path, base: Run) -> bool:
    """Whether a number or word that a recomputation tells is another one than in the base."""
    run = records.load_run(folder)
    if run.manifest.schema.minor < 8 or run.manifest.state == "running":
        return False  # a run that was killed, or an old one, claims less
    for kind, old, new in [
        ("manifest.json", base.manifest, run.manifest),
        *(("records", base[name], run.records[name]) for name in base.records if name in run.records),
    ]:
        for field in DERIVED[kind]:
            before, after = (msgspec.to_builtins(getattr(one, field)) for one in (old, new))
            if any(compare("", before, after, ignored=GIVEN)):
                return True
    return False


class Tally:
    """What came of the changes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seen: set[str] = set()

    def add(self, kind: str, what: str, detail: str = "") -> None:
        self.counts[kind] += 1
        if detail not in self.seen and kind in ("bug", "hang", "silent"):
            self.seen.add(detail)
            print(f"{kind}: {what}\n{detail}", flush=True)


def one_change(base: Run, folder: Path, dice: random.Random, tally: Tally) -> None:
    """Make one change and read."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base.path, folder)
    name = dice.choice(sorted(_files(folder)))
    renewed = bool(dice.randrange(2))
    way = dice.choice(["bytes", "bytes", "fields", "fields", "arrays", "file"])
    before = (folder / name).read_bytes()
    how = ""
    if way == "fields" and name.endswith(".json"):
        (folder / name).write_bytes(change_fields(before, dice))
    elif way in ("arrays", "fields") and name.endswith(".npz"):
        (folder / name).write_bytes(change_arrays(before, dice))
    elif way == "file":
        how = change_file(folder, name, dice)
    else:
        (folder / name).write_bytes(change_bytes(before, dice))
    same = (folder / name).is_file() and (folder / name).read_bytes() == before
    if renewed and name != SUMS:
        renew(folder)
    what = f"{base.path.name}/{name}, {way} {how}{', renewed' * renewed}"
    signal.alarm(PATIENCE)
    try:
        read_all(folder, base, dice)
        if not renewed and not same and name not in ("report.html", SUMS) and not name.startswith("logs"):
            tally.add("silent", what, "read although no hash was renewed")
        elif not dice.randrange(20) and verified(folder) and differs(folder, base):
            tally.add("silent", what, _difference(folder / name, before))
        else:
            tally.add("read", what)
    except RecordError:
        tally.add("refused", what)
    except HangError:
        tally.add("hang", what, "".join(traceback.format_stack(limit=3)))
    except Exception as error:  # noqa: BLE001 - what is looked for
        frames = traceback.extract_tb(error.__traceback__)[-2:]
        where = " < ".join(
            f"{frame.filename.rpartition('compare_ag/')[2]}:{frame.lineno}" for frame in reversed(frames)
        )
        tally.add("bug", what, f"  {type(error).__name__}: {str(error)[:150]} ({where})")
    finally:
        signal.alarm(0)


def _difference(path: Path, before: bytes) -> str:
    if path.suffix != ".json":
        return f"  {path.name}"
    found = compare("", json.loads(before), json.loads(path.read_bytes()))
    return "\n".join(f"  {one.field}: {one.recorded!r} -> {one.derived!r}"[:200] for one in list(found)[:5])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--changes", type=int, default=1000, help="how many changes (default: 1000)")
    options.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many seconds")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _hung)
    dice, tally, started, done = random.Random(asked.seed), Tally(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        made = bases(Path(folder))
        while done < asked.changes and time.monotonic() < started + asked.seconds:
            one_change(dice.choice(made), Path(folder, "changed"), dice, tally)
            done += 1
            if not done % 1000:
                print(f"{done}: {dict(tally.counts)}", flush=True)
    seconds = time.monotonic() - started
    print(f"{done} changes in {seconds:.0f} s: {dict(tally.counts)}")
    return int(any(tally.counts[kind] for kind in ("bug", "hang", "silent")))


if __name__ == "__main__":
    sys.exit(main())
