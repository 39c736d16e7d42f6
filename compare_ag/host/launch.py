"""How a worker is started: its limits, and the few variables of its environment.

The environment is an allow-list, so that nothing leaks into a worker and launches are alike.
"""

from __future__ import annotations

import os
import site
import sys
from dataclasses import dataclass
from pathlib import Path

MARK = "COMPARE_AG_WORKER"
PADDING = "COMPARE_AG_PADDING"
_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "VIRTUAL_ENV",
)  # fmt: skip
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_CORETYPE", "NUMPY_MADVISE_HUGEPAGE")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip

_CACHE_FOLDERS = {
    "XDG_CACHE_HOME": ".", "JAX_COMPILATION_CACHE_DIR": "jax", "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "TORCH_EXTENSIONS_DIR": "extensions",
    "CUDA_CACHE_PATH": "cuda",
}  # fmt: skip
# JAX itself keeps by default only what took a second to compile
_CACHE_OPTIONS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


@dataclass(frozen=True)
class Launch:
    """How to start one worker."""

    label: str
    """names the log files: ``torch.train``"""
    log_folder: Path
    threads: int
    hash_seed: int
    deadline_seconds: float
    padding: int = 0
    """characters of an unused variable: it moves the stack, of all workers of a timing launch alike"""
    memory_limit: int | None = None
    """bytes of resident memory of the worker and all that it starts; None: a share of what is free when it starts"""
    shares: int = 0
    """into how many such shares; 0: one for each CPU"""
    address_space: int | None = None
    """bytes of address space of each process; None: as many as it likes"""
    cache: Path | None = None
    """where its framework keeps compiled code for later workers of this backend; None: in the worker's own folder"""

    @property
    def bug_log(self) -> Path:
        """Where the traceback of a bug of ours goes."""
        return self.log_folder / f"{self.label}.bug.txt"


def thread_variables(threads: int) -> dict[str, str]:
    """What tells a worker's libraries how many threads to use and how these wait: part of what a time means."""
    waiting = {name: os.environ[name] for name in _WAITING if name in os.environ}
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | waiting


def worker_environment(launch: Launch, folder: Path, mark: str) -> dict[str, str]:
    """The few variables a worker gets: an allow-list, its threads, its hash seed, its own home and temporary folder."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= thread_variables(launch.threads)
    environment |= {
        MARK: mark,
        PADDING: "-" * launch.padding,
        "PYTHONHASHSEED": str(launch.hash_seed),
        "PYTHONPATH": os.pathsep.join(import_path()),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    environment |= cache_variables(launch.cache or folder / "cache")
    if site.ENABLE_USER_SITE:
        environment["PYTHONUSERBASE"] = site.getuserbase()
    return environment


def cache_variables(folder: Path) -> dict[str, str]:
    """What tells the frameworks to keep compiled code below this folder."""
    return {name: str(folder / part) for name, part in _CACHE_FOLDERS.items()} | _CACHE_OPTIONS


def import_path() -> list[str]:
    """Where the worker looks for modules: where the host found the plugin's metadata, but not the current folder."""
    here = os.getcwd()
    own = str(Path(__file__).resolve().parents[2])
    asked = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [entry for entry in sys.path if entry and (os.path.abspath(entry) != here or entry in asked)]
    paths = [os.path.abspath(entry) for entry in kept if os.path.exists(entry)]
    return list(dict.fromkeys([*paths, own]))
