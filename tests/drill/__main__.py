"""``python -m tests.drill``: hostile plugins as real distributions through the real command line.

Every row runs ``compare-ag`` in a process of its own, beside numpy, and compares exit code, status, message, what is
preserved, numpy's arrays (bit for bit those of a run without the plugin), the processes and the files that are left a
second later. On Linux the drill is a subreaper, so that whatever a row leaves behind becomes its child.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from compare_ag.records import seal
from tests.drill.rows import PRELUDE, PROCESS, ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
GOOD = runpy.run_path(str(ROOT / "tests" / "conftest.py"))["GOOD_PLUGIN"]
PROBLEM = ("--problem", "synthetic:n=50,d=3", "--steps", "50")
TIMED = ("--problem", "synthetic:n=200,d=5", "--steps", "50", "--timing-budget", "1")
LONGEST = 90.0
BENCHMARK = """
import pytest
@pytest.mark.ag_problem("synthetic:n=50,d=3")
@pytest.mark.parametrize("phase", ["make_tensor", "forward", "backward", "update", "step"])
def test_speed(ag_benchmark, phase):
    ag_benchmark(phase, rounds=20)
"""
AT_17 = """        self.calls = getattr(self, "calls", -1) + 1
        w, b = weights
        if self.calls == 17:
            {step}
"""


def source_of(row: Row, here: Path) -> str:
    """The plugin's module."""
    if row.source is not None:
        return row.source
    source = GOOD.replace("        w, b = weights\n", AT_17.format(step=row.step)) if row.step else GOOD
    for old, new in row.edits:
        if old not in source:
            raise SystemExit(f"drill: row {row.id}: {old!r} is not in the plugin")
        source = source.replace(old, new, 1)
    source = PRELUDE + row.top + source + row.bottom
    return source.replace("{here!r}", repr(str(here))).replace("{out!r}", repr(str(here / "run")))


def install(row: Row, here: Path) -> None:
    """Write the distribution, and the row's files."""
    site = here / "site"
    info = site / "dist_evil-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-evil\nVersion: 1.2\n")
    (info / "entry_points.txt").write_bytes(row.entry_points.encode("utf-8", "surrogateescape"))
    (site / "evil_mod.py").write_text(source_of(row, here), errors="surrogatepass")
    for name, content in row.files.items():
        (here / name).write_bytes(content if isinstance(content, bytes) else content())


def command_of(row: Row, here: Path, baseline: Path) -> list[str]:
    """What is run."""
    tool = [sys.executable, "-m", "compare_ag"]
    if row.command == ("pytest",):
        (here / "test_mine.py").write_text(BENCHMARK)
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(here)]
        return [
            *pytest,
            "test_mine.py",
            "--ag-backends",
            row.backends,
            "--benchmark-json",
            "m.json",
            "--ag-timeout",
            "3",
        ]
    if row.command:
        damaged = here / "damaged"
        shutil.copytree(baseline, damaged)
        file = damaged / ("records/numpy.json" if "damaged" in row.command[0] else "manifest.json")
        text = file.read_text()
        file.write_text(text[:-20] if "damaged" in row.command[0] else text.replace('"major": 1', '"major": 99'))
        if "damaged" not in row.command[0]:  # as a later version writes it, with the hash of each file
            seal(damaged)
        return [*tool, "show", str(damaged)]
    problem = TIMED if row.timed else (*PROBLEM, "--no-timing")
    if "--data" in row.arguments:
        problem = ("--no-timing", "--steps", "50")
    output = () if "-o" in row.arguments else ("-o", str(here / "run"))
    arguments = [one.replace("{here}", str(here)) for one in row.arguments]
    return [*tool, "run", "--backends", row.backends, *problem, "--quiet", *output, *arguments]


def start(row: Row, here: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start it with a temporary folder and a lock of its own."""
    temporary = here / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join([str(here / "site"), str(ROOT), str(ROOT / "plugins")]),
        "TMPDIR": str(temporary),
        "COMPARE_AG_LOCK": str(here / "lock"),
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    if row.act == "full":  # no file of ours can grow: as on a full disk, and as full everywhere
        command = ["/bin/bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *command]
    out = subprocess.PIPE
    if row.act == "closed":
        read, out = os.pipe()
        os.close(read)
    process = subprocess.Popen(
        command, cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
    )
    if row.act == "closed":
        os.close(out)
    return process


def finish(row: Row, here: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Do to it what the row says; return exit code and output."""
    if row.act.startswith("SIG"):
        deadline = time.monotonic() + LONGEST
        ready = [here / "there", *([here / "run" / "records" / "numpy.json"] if row.act != "SIGKILL" else [])]
        while not all(path.exists() for path in ready) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.Signals[row.act])
    output, _ = process.communicate(timeout=LONGEST)
    return process.returncode, (output or b"").decode(errors="replace")


def become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def left_behind() -> list[str]:
    """Children that this process has not started; they are ended."""
    found = []
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError, IndexError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:80])
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return found


def arrays_of(run: Path, name: str) -> dict[str, bytes] | None:
    path = run / "arrays" / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        return {key: stored[key].tobytes() for key in stored.files}


def examine(row: Row, baseline: Path) -> list[str]:
    """Run one row; return what is not as it must be."""
    become_subreaper()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        here = Path(folder)
        install(row, here)
        process = start(row, here, command_of(row, here, baseline))
        try:
            code, output = finish(row, here, process)
        except subprocess.TimeoutExpired:
            process.kill()
            left_behind()
            return [f"did not end within {LONGEST:g} s"]
        ended = time.monotonic()
        if code not in (row.exit if isinstance(row.exit, tuple) else (row.exit,)):
            wrong.append(f"exit {code}, not {row.exit}: {output.strip()[-300:]}")
        if "Traceback (most recent" in output and row.command != ("pytest",):
            wrong.append("a traceback was printed")
        if row.act != "closed" and re.search("[\x1b\u202a-\u202e]", output):
            wrong.append("a control character was printed")
        said = output
        run = here / "run"
        record_path = run / "records" / "evil.json"
        if row.status is not None:
            if not record_path.exists():
                return [*wrong, f"no record of the backend: {output.strip()[-300:]}"]
            record = json.loads(record_path.read_text())
            said = record.get("reason") or ""
            if record["status"] != row.status:
                wrong.append(f"status {record['status']}, not {row.status}: {said}")
            if row.exit == 6:
                said = output
        if not re.search(row.message, said, re.S):
            wrong.append(f"said {said.strip()[-300:]!r}, not {row.message!r}")
        if row.kept is not None:
            found = arrays_of(run, "evil") or {}
            with np.errstate(all="ignore"):
                kept = len(found.get("losses", b"")) // 8
            if kept != row.kept:
                wrong.append(f"{kept} losses are kept, not {row.kept}")
        if row.numpy is not None and (run / "records" / "numpy.json").exists():
            record = json.loads((run / "records" / "numpy.json").read_text())
            if record["status"] != row.numpy:
                wrong.append(f"numpy is {record['status']}: {record.get('reason')}")
            elif not row.timed and arrays_of(run, "numpy") != arrays_of(baseline, "numpy"):
                wrong.append("numpy's arrays are not those of a run without the plugin")
        elif row.numpy is not None:
            wrong.append("numpy has no record")
        if row.act in ("table", "full") and "distance" not in output:
            wrong.append(f"no table: {output.strip()[-300:]}")
        if row.act == "unranked":
            record = json.loads(record_path.read_text())
            if record["status"] == "ok" and not (record.get("cost") or {}).get("unranked"):
                wrong.append("it has a rank")
        if row.act == "once" and (here / "hangs").read_text() != "x":
            wrong.append(f"it hung {len((here / 'hangs').read_text())} times")
        wrong += check_leftovers(row, here, ended)
    return wrong


def check_leftovers(row: Row, here: Path, ended: float) -> list[str]:
    """Processes and temporary files a second after the end; of a killed host the next run sweeps the files."""
    wrong = []
    time.sleep(max(0.0, ended + 1.0 - time.monotonic()))
    if left := left_behind():
        wrong.append(f"left running: {left}")
    if row.act == "SIGKILL":
        shutil.rmtree(here / "run", ignore_errors=True)
        clean = Row("next", 0, None, 0, "", backends="numpy")
        next_run = start(clean, here, command_of(clean, here, here))
        finish(clean, here, next_run)
    files = [path.name for path in (here / "tmp").iterdir() if not path.name.startswith("pytest-of")]
    files += [path.name for path in (here / "run").rglob(".*.tmp")] if (here / "run").exists() else []
    return wrong + ([f"files left: {files}"] if files else [])


DEATHS = {
    "exit": "os._exit(9)",
    "segv": "ctypes.string_at(0)",
    "fork-then-segv": "os.fork() or time.sleep(600); ctypes.string_at(0)",
    "child-envless-then-exit": "subprocess.Popen(['sleep', '7654'], start_new_session=True, env={}); os._exit(9)",
    "hang": "time.sleep(600)",
    "hang-holding-the-lock": "ctypes.PyDLL(None).sleep(600)",
    "chatty-hang": "exec('while True: print(1)')",
    "ignores-sigterm": "signal.signal(15, signal.SIG_IGN); time.sleep(600)",
}
DEADLINE = 1.5


def deaths(times: int) -> bool:
    """How soon a death, or a deadline that has passed, is known, and how soon everything is gone after that."""
    from compare_ag.host.failures import WorkerFailure
    from compare_ag.host.launch import Launch
    from compare_ag.host.process import WorkerProcess
    from compare_ag.worker import messages

    become_subreaper()
    slowest_known = slowest_cleaned = 0.0
    left: list[str] = []
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        sys.path.insert(0, folder)
        for name, statement in DEATHS.items():
            known, cleaned = [], []
            module = f"evil_{name.replace('-', '_')}"
            stamp = Path(folder, "stamp")
            write = f"open({str(stamp)!r}, 'w').write(str(time.monotonic()))\n"
            Path(folder, f"{module}.py").write_text(f"{PRELUDE}\n{write}{statement}\n")
            for _ in range(times):
                process = WorkerProcess(Launch(name, Path(folder), 1, 0, 60.0))
                process.expect(messages.Hello)
                process.allow(DEADLINE)
                asked = time.monotonic()
                try:
                    process.ask(messages.Load(name, module, None), messages.Loaded)
                except WorkerFailure as failure:
                    now, status = time.monotonic(), failure.status
                since = asked + DEADLINE if status == "timeout" else float(stamp.read_text())
                process.close()
                known.append(now - since)
                cleaned.append(time.monotonic() - since)
                left += left_behind()
            print(f"  {name:28}{times:4} times   known {max(known):6.3f} s   cleaned {max(cleaned):6.3f} s")
            slowest_known, slowest_cleaned = max(slowest_known, *known), max(slowest_cleaned, *cleaned)
    print(f"slowest death: known after {slowest_known:.3f} s, cleaned after {slowest_cleaned:.3f} s; left: {len(left)}")
    return not left


def make_baseline(folder: Path) -> Path:
    row = Row("baseline", 0, None, 0, "", backends="numpy")
    process = start(row, folder, command_of(row, folder, folder))
    code, output = finish(row, folder, process)
    if code:
        raise SystemExit(f"drill: numpy alone exits with {code}: {output}")
    return folder / "run"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--only", metavar="ID,ID", help="these rows")
    parser.add_argument("--fast", action="store_true", help="a row of each kind")
    parser.add_argument("--repeat", type=int, metavar="N", help="the process faults N times, and N deaths of each kind")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (default: 2)")
    parser.add_argument("--one", metavar="ID", help=argparse.SUPPRESS)
    parser.add_argument("--baseline", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # by nohup or a shell's background: the commands would keep it
            signal.signal(number, signal.SIG_DFL)
    if options.one:
        print(json.dumps(examine(ROWS[options.one], options.baseline)))
        return 0
    names = list(ROWS)
    if options.fast:
        names = [name for name in names if ROWS[name].fast]
    if options.only:
        names = options.only.split(",")
    if options.repeat:
        names = [row.id for row in PROCESS if not options.only or row.id in names] * options.repeat
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="drill-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        baseline = make_baseline(Path(folder))
        for name, (wrong, seconds) in zip(
            names, pool.map(lambda name: _in_process(name, baseline), names), strict=True
        ):
            row = ROWS[name]
            failed += bool(wrong)
            if not options.repeat or wrong:
                expected = f"{row.status or '-'}, exit {row.exit}"
                print(
                    f"{row.number:3}  {name:32}{expected:28}{'FAILED' if wrong else 'ok':8}{seconds:6.1f} s", flush=True
                )
                for one in wrong:
                    print(f"       {one}", flush=True)
    print(f"drill: {len(names) - failed} passed, {failed} failed, in {time.monotonic() - started:.0f} s")
    clean = deaths(options.repeat or 1) if options.repeat or not options.only else True
    return int(bool(failed) or not clean)


def _in_process(name: str, baseline: Path) -> tuple[list[str], float]:
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.drill", "--one", name, "--baseline", str(baseline)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        wrong: list[str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        wrong = [f"the drill itself failed: {done.stderr.strip()[-500:]}"]
    return wrong, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
