"""How long does it take to read people's own data, and how much memory?

    python benchmarks/reading.py --megabytes 500

Writes a CSV, an npz and a LIBSVM file (and a Parquet file where pyarrow is there) of about so many megabytes, numbers
with nine digits, and loads each in a process of its own, the warnings about its features included. Printed are seconds
(by the clock, and of CPU time) and the peak of the process beyond what it held before (Linux), also in units of X.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FEATURES = 20
ROWS_AT_A_TIME = 20_000

CHILD = """
import json, sys, time
import numpy as np
from compare_ag.problem import load_file
np.linalg.svd(np.eye(3))  # loads what any problem needs
def peak():
    with open("/proc/self/status") as status:  # ru_maxrss would be that of the parent, if it is larger
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
before, start, cpu = peak(), time.perf_counter(), time.process_time()
data = load_file(sys.argv[1], *sys.argv[2:])
seconds = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([*seconds, peak() - before, data.X.nbytes, *data.X.shape]))
"""


def write_text(path: Path, megabytes: float, *, libsvm: bool) -> None:
    """Write rows until the file is as long as asked for."""
    generator = np.random.default_rng(0)
    names = ",".join(f"f{column}" for column in range(FEATURES))
    entry = [f"{column}:%.9g" for column in range(1, FEATURES + 1)]
    form = "%s " + " ".join(entry) + "\n" if libsvm else ",".join(["%.9g"] * FEATURES) + ",%s\n"
    with path.open("w") as file:
        file.write("" if libsvm else f"{names},label\n")
        while file.tell() < megabytes * 1e6:
            X = generator.standard_normal((ROWS_AT_A_TIME, FEATURES)).tolist()
            y = np.where(generator.random(ROWS_AT_A_TIME) < 0.5, "-1", "+1").tolist()
            rows = zip(X, y, strict=True)
            file.write("".join([form % ((label, *row) if libsvm else (*row, label)) for row, label in rows]))


def write_npz(path: Path, megabytes: float) -> None:
    X = np.random.default_rng(0).standard_normal((int(megabytes * 1e6 / 8 / FEATURES), FEATURES))
    np.savez(path, X=X, y=X[:, 0] > 0)


def write_parquet(path: Path, megabytes: float) -> None:
    import pyarrow
    import pyarrow.parquet

    X = np.random.default_rng(0).standard_normal((int(megabytes * 1e6 / 8 / FEATURES), FEATURES))
    columns = {f"f{column}": X[:, column] for column in range(FEATURES)}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "label": X[:, 0] > 0}), path, compression="none")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--megabytes", type=float, default=500, help="of each file (default: 500)")
    options.add_argument("--only", choices=["csv", "npz", "libsvm", "parquet"], help="one format (default: all)")
    asked = options.parse_args()
    kinds = [asked.only] if asked.only else ["csv", "npz", "libsvm", *(["parquet"] if find_spec("pyarrow") else [])]
    print("  format      MB       rows features  seconds      CPU   MB/s  peak MB peak / X")
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            path = Path(folder) / f"data.{kind}"
            if kind in ("csv", "libsvm"):
                write_text(path, asked.megabytes, libsvm=kind == "libsvm")
            else:
                (write_npz if kind == "npz" else write_parquet)(path, asked.megabytes)
            target = ["label"] if kind in ("csv", "parquet") else []
            command = [sys.executable, "-c", CHILD, str(path), *target]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, cpu, peak, array, rows, features = json.loads(done.stdout)
            size = path.stat().st_size / 1e6
            print(
                f"{kind:>8} {size:7.0f} {rows:10,} {features:8} {seconds:8.1f} {cpu:8.1f} {size / seconds:6.0f} "
                f"{peak / 1e6:8.0f} {peak / array:8.2f}",
                flush=True,
            )
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
