"""How a worker is started: its limits, and the few variables of its environment.

The environment is an allow-list, so that no other variable reaches a worker and launches are alike.
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
    """characters of an unused variable, which moves the stack; the same for all workers of a timing launch"""
    memory_limit: int | None = None
    """bytes of resident memory of the worker and all its children; None: a share of the memory free at its start"""
    shares: int = 0
    """number of such shares; 0: one for each CPU"""
    address_space: int | None = None
    """bytes of address space of each process; None: no limit"""
    cache: Path | None = None
    """folder in which its framework keeps compiled code for later workers of this backend; None: the worker's own"""

    @property
    def bug_log(self) -> Path:
        """The log file for the traceback of a bug of ours."""
        return self.log_folder / f"{self.label}.bug.txt"


def thread_variables(threads: int) -> dict[str, str]:
    """Variables for the number of a library's threads and their way of waiting, which are part of a time's meaning."""
    waiting = {name: os.environ[name] for name in _WAITING if name in os.environ}
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | waiting


def worker_environment(launch: Launch, folder: Path, mark: str) -> dict[str, str]:
    """The variables of a worker: an allow-list, its threads, its hash seed, its own home and temporary folder."""
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
    """Variables that make the frameworks keep compiled code below this folder."""
    return {name: str(folder / part) for name, part in _CACHE_FOLDERS.items()} | _CACHE_OPTIONS


def import_path() -> list[str]:
    """The worker's module search path: the host's, by which the plugin was found, without the current folder."""
    current_folder = os.getcwd()
    own = str(Path(__file__).resolve().parents[2])
    asked = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    entries = [entry for entry in sys.path if entry and (os.path.abspath(entry) != current_folder or entry in asked)]
    paths = [os.path.abspath(entry) for entry in entries if os.path.exists(entry)]
    return list(dict.fromkeys([*paths, own]))
