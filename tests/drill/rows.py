"""The rows of the drill: what a plugin or a file does, and what must come of it.

The numbers are those of the fault matrix in docs/isolation.md. `edits` go into a right plugin; ``{out}`` and ``{here}``
stand for the run directory and a folder of the row's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

PRELUDE = """
import atexit, ctypes, fcntl, gc, json, os, signal, struct, subprocess, sys, threading, time
from pathlib import Path
def writable(fd):
    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False
"""
SENT = """
from compare_ag.worker import frames, messages
import msgspec, numpy
pack = frames.pack
R = msgspec.structs.replace
def change(kind, how):
    def replaced(message, arrays, nonce, sequence):
        if type(message).__name__ == kind:
            message, arrays = how(message, dict(arrays))
        return pack(message, arrays, nonce, sequence)
    frames.pack = replaced
"""


@dataclass(frozen=True)
class Row:
    """One fault and what must come of it."""

    id: str
    number: int
    """of the matrix"""
    status: str | None
    """of the backend; None: the command says no such thing"""
    exit: int | tuple[int, ...]
    message: str
    """a regular expression, in the backend's reason, or in what the command printed"""
    top: str = ""
    """goes before the plugin's source"""
    step: str = ""
    """statement in forward, at its call number 17"""
    edits: tuple[tuple[str, str], ...] = ()
    bottom: str = ""
    source: str | None = None
    """in place of a right plugin"""
    arguments: tuple[str, ...] = ()
    timed: bool = False
    kept: int | None = None
    """losses that must be there of the backend"""
    fast: bool = False
    act: str = ""
    """what the drill does to the command: see `drill`"""
    backends: str = "numpy,evil"
    files: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    """in the row's folder"""
    numpy: str | None = "ok"
    """numpy's status; None: there is no run"""
    command: tuple[str, ...] = ()
    """in place of `run`"""
    entry_points: str = "[compare_ag]\nevil = evil_mod\n"


def _died(said: str) -> str:
    return rf"{said} \(last seen in forward, step 17\)"


HANG = ("--timeout", "4")
LIMIT = ("--memory-limit", "300M")
EAT = "kept = [bytes(b'x') * (16 << 20) for _ in range(40) if not time.sleep(0.02)]; time.sleep(60)"
SLEEPER = "['sleep', '7654']"
Z = "        z = batch.X @ w + b\n"
WAIT = "[time.sleep(0.02) for _ in range(1500) if not Path({out!r}, 'records', 'numpy.json').exists()]; "
"""until numpy's results are saved"""
CLASS = "class Mine(Backend):\n"

PROCESS = [
    Row("import-missing", 2, "import-error", 3, "needs the module 'nowhere_at_all'; install", top="import nowhere_at_all\n"),
    Row("import-syntax", 4, "import-error", 3, "SyntaxError in .*evil_mod.py, line", source="def broken(:\n"),
    Row("import-no-module", 4, "import-error", 3, "which does not exist", entry_points="[compare_ag]\nevil = no_such_module\n"),
    Row("import-exits", 5, "import-error", 3, r"raised SystemExit\(7\)", top="raise SystemExit(7)\n"),
    Row("import-dies", 6, "crashed", 3, r"exit code 9 \(last seen in import\)", top="import os; os._exit(9)\n"),
    Row("import-dies-0", 6, "crashed", 3, "exited with code 0 without a result", top="import os; os._exit(0)\n"),
    Row("import-hangs", 9, "timeout", 3, r"no result within 4 s \(last seen in import\)", top="import time; time.sleep(600)\n", arguments=HANG),
    Row("exits-hard", 6, "crashed", 3, _died("exit code 9"), step="os._exit(9)", kept=17),
    Row("exits-hard-0", 6, "crashed", 3, "exited with code 0 without a result", step="os._exit(0)", kept=17),
    Row("exits", 6, "crashed", 3, "SystemExit: 5", step="sys.exit(5)", kept=17),
    Row("raises", 6, "crashed", 3, "ValueError: no such luck", step="raise ValueError('no such luck')", kept=17),
    Row("interrupts", 6, "crashed", 3, "KeyboardInterrupt", step="raise KeyboardInterrupt", kept=17),
    Row("segv", 7, "crashed", 3, _died("killed by SIGSEGV"), step="ctypes.string_at(0)", kept=17, fast=True),
    Row("abort", 7, "crashed", 3, _died("killed by SIGABRT"), step="os.abort()", kept=17),
    Row("fork-then-segv", 7, "crashed", 3, _died("killed by SIGSEGV"), step="os.fork() or time.sleep(600); ctypes.string_at(0)", kept=17),
    Row("segv-at-exit", 8, "ok", 0, "", bottom="import atexit, ctypes\natexit.register(ctypes.string_at, 0)\n"),
    Row("hang", 9, "timeout", 3, _died("no result within 4 s"), step="time.sleep(600)", arguments=HANG, kept=17),
    Row("spin", 9, "timeout", 3, _died("no result within 4 s"), step="exec('while True: pass')", arguments=HANG, kept=17),
    Row("hang-holding-the-lock", 10, "timeout", 3, _died("no result within 4 s"), step="ctypes.PyDLL(None).sleep(600)", arguments=HANG, kept=17),
    Row("chatty-hang", 11, "timeout", 3, _died("no result within 4 s"), step="exec('while True: print(1)')", arguments=HANG, kept=17),
    Row("ignores-sigterm", 12, "timeout", 3, _died("no result within 4 s"), step="[signal.signal(s, signal.SIG_IGN) for s in (2, 15, 1)]; time.sleep(600)", arguments=HANG, kept=17),
    Row("stops-itself", 12, "timeout", 3, _died("no result within 4 s"), step="os.kill(os.getpid(), signal.SIGSTOP)", arguments=HANG, kept=17),
    Row("hang-at-exit", 13, "ok", 0, "", bottom="import atexit, time\natexit.register(time.sleep, 600)\n"),
    Row("thread-at-exit", 13, "ok", 0, "", bottom="import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"),
    Row("children", 14, "ok", 0, "", step=f"[subprocess.Popen({SLEEPER}, start_new_session=new) for new in (False, True)]"),
    Row("children-envless", 14, "ok", 0, "", step=f"subprocess.Popen({SLEEPER}, start_new_session=True, env={{}})", fast=True),
    Row("orphans-envless", 14, "ok", 0, "", step="subprocess.run(['sh', '-c', 'sleep 7654 & exit'], start_new_session=True, env={'PATH': os.environ['PATH']}, stdout=-3, stderr=-3)"),
    Row("children-and-hang", 14, "timeout", 3, "no result within 4 s", step=f"subprocess.Popen({SLEEPER}, start_new_session=True, env={{}}); time.sleep(600)", arguments=HANG),
    Row("kills-its-parent", 14, "oom", 3, "killed by SIGKILL", step="os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"),
    Row("kills-its-group", 14, "oom", 3, "killed by SIGKILL", step="os.killpg(0, signal.SIGKILL); time.sleep(60)"),
    Row("signals-its-parent", 14, "ok", 0, "", step="[os.kill(os.getppid(), s) for s in (1, 2, 3, 10, 12, 13, 14)]"),
    Row("host-killed", 15, None, -9, "", step="Path({here!r}, 'there').touch(); time.sleep(600)", act="SIGKILL", numpy=None, fast=True),
    Row("host-killed-children", 15, None, -9, "", step=f"subprocess.Popen({SLEEPER}, start_new_session=True, env={{}}); Path({{here!r}}, 'there').touch(); time.sleep(600)", act="SIGKILL", numpy=None),
    Row("memory-error", 16, "oom", 3, "MemoryError", step="raise MemoryError", kept=17),
    Row("memory-limit", 16, "oom", 3, _died(r"needed more than 300.0 MiB"), step=EAT, arguments=LIMIT, kept=17),
    Row("memory-limit-child", 16, "oom", 3, _died(r"needed more than 300.0 MiB"), step=f"os.fork() and time.sleep(600); {EAT}", arguments=LIMIT, kept=17),
    Row("address-space", 16, "oom", 3, "Unable to allocate", step="np.ones(1 << 30)", arguments=("--address-space-limit", "4G"), kept=17),
    Row("kernel-kill", 17, "oom", 3, "killed by SIGKILL, probably out of memory", step="os.kill(os.getpid(), signal.SIGKILL)", kept=17),
    Row("thread-bomb", 18, "crashed", 3, "started more than 4,096 processes and threads", step="threading.stack_size(32768); [threading.Thread(target=time.sleep, args=(600,), daemon=True).start() for _ in range(4500)]; time.sleep(60)"),
    Row("flood", 19, "ok", 0, "", step="print('x' * 5_000_000); os.write(2, bytes(range(256)))"),
    Row("closes-the-channel", 20, "malformed", 3, r"closed the result channel \(last seen in (forward|to_numpy), step 17\)", step="[os.close(fd) for fd in range(200, 210) if writable(fd)]", kept=18, fast=True),
    Row("closes-the-channel-and-sleeps", 20, "malformed", 3, r"closed the result channel \(last seen in forward, step 17\)", step="[os.close(fd) for fd in range(200, 210) if writable(fd)]; time.sleep(600)", kept=17),
    Row("replaces-the-channel", 20, "malformed", 3, "closed the result channel", step="[os.dup2(os.open(os.devnull, os.O_WRONLY), fd) for fd in range(200, 210) if writable(fd)]"),
    Row("closes-everything", 20, "malformed", 3, "closed the result channel", step="os.closerange(3, 4096)"),
    Row("writes-junk", 21, "malformed", 3, "broke the result channel: frame .* does not begin like a frame", step="[os.write(fd, b'x' * 100) for fd in range(200, 206) if writable(fd)]; time.sleep(20)"),
    Row("truncates-the-board", 21, "crashed", 3, "killed by SIGBUS", step="[os.ftruncate(fd, 0) for fd in range(200, 210) if os.path.exists(f'/proc/self/fd/{fd}') and 'board' in os.readlink(f'/proc/self/fd/{fd}')]"),
    Row("pytest-dies", 66, None, 1, "5 failed, 5 passed", step="os._exit(9)", command=("pytest",), numpy=None),
    Row("pytest-hangs", 66, None, 1, "1 failed, 5 passed, 4 errors", step="time.sleep(600)", command=("pytest",), numpy=None),
]  # fmt: skip

CONTRACT = [
    Row("huge-message", 22, "malformed", 3, "too large", top=SENT + "change('Observed', lambda m, a: (m, {'w': numpy.zeros(1 << 23)}))\n"),
    Row("deep-message", 22, "malformed", 3, "no message of this protocol|broke", top=SENT + "frames.pack = lambda m, a, n, s: [frames.PREFIX.pack(frames.MAGIC, n, s, 100000, 0), b'[' * 100000] if s > 1 else pack(m, a, n, s)\n"),
    Row("returns-no-array", 23, "malformed", 3, "to_numpy must return a numpy array, got float", step="return 0.5, (w, batch, np.zeros(50))"),
    Row("returns-objects", 23, "malformed", 3, "expected float64 array of shape", step="return np.array(object()), (w, batch, np.zeros(50))"),
    Row("mute-exception", 24, "crashed", 3, r"Mute: \(its message cannot be shown\)", step="raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})"),
    Row("surrogate", 24, "crashed", 3, r"ValueError: bad \\ud800 text", step="raise ValueError('bad \\ud800 text')", kept=17),
    Row("bidi", 24, "crashed", 3, "ValueError: bad .* text", step="raise ValueError('bad \\u202e text')", kept=17),
    Row("missing-verb", 25, "malformed", 3, "lacks backward", edits=(("def backward(self", "def backwards(self"),)),
    Row("wrong-signature", 25, "malformed", 3, "cannot be called as backward", edits=(("def backward(self, tape)", "def backward(self, tape, extra)"),)),
    Row("async-verb", 25, "malformed", 3, "asynchronous", edits=(("    def update(", "    async def update("),)),
    Row("mistyped-hook", 26, "malformed", 3, "did you mean compare_ag_backend", edits=(("def compare_ag_backend", "def compare_ag_bakend"),)),
    Row("hook-raises", 26, "malformed", 3, "ZeroDivisionError", edits=(("return Mine", "return 1 / 0"),)),
    Row("api-version", 31, "unsupported", 3, "speaks API version 3, this compare-ag speaks 1", edits=((CLASS, CLASS + "    api_version = 3\n"),)),
    Row("api-version-object", 31, "malformed", 3, "api_version is a V; it must be the number 1", edits=((CLASS, CLASS + "    api_version = type('V', (), {'__eq__': lambda s, o: True, '__ne__': lambda s, o: False})()\n"),)),
    Row("api-version-raises", 31, "malformed", 3, "reading api_version raised ZeroDivisionError", edits=((CLASS, "class Meta(type(Backend)):\n    @property\n    def api_version(cls):\n        return 1 / 0\n\n\nclass Mine(Backend, metaclass=Meta):\n"),)),
    Row("dtypes-raises", 31, "malformed", 3, "reading dtypes raised ZeroDivisionError", edits=((CLASS, "class Meta(type(Backend)):\n    @property\n    def dtypes(cls):\n        return 1 / 0\n\n\nclass Mine(Backend, metaclass=Meta):\n"),)),
    Row("name-is-a-number", 31, "malformed", 3, "__name__ of its class is of type int; it must be a text", edits=((CLASS, "class Meta(type(Backend)):\n    @property\n    def __name__(cls):\n        return 5\n\n\nclass Mine(Backend, metaclass=Meta):\n"),)),
    Row("wrong-shape", 32, "malformed", 3, r"loss: expected float64 array of shape \(\)", step="return np.zeros(3), (w, batch, np.zeros(50))"),
    Row("nan", 33, "non-finite", 1, "step 17", step="return np.array(np.nan), (w * np.nan, batch, batch.y * np.nan)"),
    Row("float32-inside", 35, "disagree", 1, "", edits=(("p - batch.y)", "(p - batch.y).astype('float32').astype('float64'))"),)),
    Row("gradient-off", 37, "disagree", 1, "", edits=(("residual @ batch.X / n", "residual @ batch.X / n * (1 + 1e-6)"),)),
    Row("rate-off", 38, "disagree", 1, "", edits=(("dtype.type(learning_rate)", "dtype.type(learning_rate * 1.01)"),)),
    Row("mutates", 41, "malformed", 3, "make_tensor must copy", edits=(("return np.array(array)", "return array"), ("return Weights(*(np.asarray(v - rate * g) for v, g in zip(weights, gradient)))", "weights.w[...] -= rate * gradient.w\n        weights.b[...] -= rate * gradient.b\n        return weights"))),
    *(
        Row(f"forged-{status}", 21, "malformed", 3, f"its worker reported the status '{status}'", top="from compare_ag.worker.load import PluginError\n", step=f"raise PluginError('{status}', 'all is well')", fast=status == "ok")
        for status in ("ok", "imported", "cancelled")
    ),
    Row("trained-empty", 32, "malformed", 3, "sent the array 'w' as nothing", top=SENT + "change('Trained', lambda m, a: (m, {}))\n"),
    Row("chunk-rows", 32, "malformed", 3, "sent the array 'w'", top=SENT + "change('Chunk', lambda m, a: (m, a | {'w': a['w'][:-1]}))\n"),
    Row("reshape-overflow", 22, "malformed", 3, "", top=SENT + "change('Observed', lambda m, a: (m, {'w': numpy.zeros((1 << 20, 1 << 20, 0))}))\n"),
    Row("endless-chunks", 32, "malformed", 3, "more than the 51 losses|too large|Chunk of", top=SENT + "change('Trained', lambda m, a: (messages.Chunk(51, [], []), dict(losses=numpy.ones(1000), w=numpy.ones((0, 3)), b=numpy.ones(0), full_losses=numpy.ones(0), gradient_w=numpy.ones((0, 3)), gradient_b=numpy.ones(0))))\n"),
    Row("timed-phases", 43, "malformed", 3, "phases", top=SENT + "change('Timed', lambda m, a: (R(m, phases=[0] * 9), a))\n", timed=True),
    Row("skips-when-timed", 43, None, (0, 1), "", edits=(("    def to_numpy", "    def step(self, weights, batch, learning_rate):\n        frame = sys._getframe(1)\n        while frame:\n            if 'block' in frame.f_code.co_name:\n                return np.zeros(()), weights\n            frame = frame.f_back\n        return super().step(weights, batch, learning_rate)\n\n    def to_numpy"),), timed=True, act="unranked"),
    Row("patches-the-clock", 43, None, (0, 1, 3), "", top=SENT + "from compare_ag.worker import clock\nwhole = clock.whole_block\ndef faster(*a, **k):\n    timed, arrays = whole(*a, **k)\n    return R(timed, wall_ns=timed.wall_ns // 10, cpu_ns=timed.cpu_ns // 10), arrays\nclock.whole_block = faster\n", timed=True, act="unranked"),
    Row("hangs-when-timed", 9, "timeout", 3, "no result within 4 s", edits=((Z, "        frame = sys._getframe(1)\n        while frame:\n            if 'block' in frame.f_code.co_name:\n                open({here!r} + '/hangs', 'a').write('x'); time.sleep(600)\n            frame = frame.f_back\n" + Z),), timed=True, arguments=HANG, act="once"),
]  # fmt: skip

COMMAND = [
    Row("unknown-backend", 1, None, 2, "no backend 'nunpy'; did you mean 'numpy'", backends="nunpy", numpy=None),
    Row("unnamed-broken", 3, None, 0, "", top="import nowhere_at_all\n", backends="numpy"),
    Row("shadows-a-builtin", 28, None, 0, "", entry_points="[compare_ag]\nnumpy = evil_mod\n", backends="numpy"),
    Row("bad-name", 29, None, 0, "", entry_points="[compare_ag]\n../../x = evil_mod\n", backends="numpy"),
    Row("bad-entry-points", 30, None, 0, "", entry_points="[compare_ag\nnonsense \udcff", backends="numpy"),
    Row("deletes-the-run", 51, "ok", 6, "deleted or changed", step=WAIT + "[one.unlink() for part in ('records', 'arrays') for one in Path({out!r}, part).glob('*')]", fast=True),
    Row("deletes-the-folder", 51, "ok", 6, "deleted or changed", step=WAIT + "__import__('shutil').rmtree({out!r})"),
    Row("disk-and-tmpdir-full", 51, None, 6, "", backends="numpy", act="full", numpy=None),
    Row("interrupted", 48, None, 130, "", step="Path({here!r}, 'there').touch(); time.sleep(600)", act="SIGINT"),
    Row("terminated", 49, None, 143, "", step="Path({here!r}, 'there').touch(); time.sleep(600)", act="SIGTERM"),
    Row("hung-up", 49, None, 143, "", step="Path({here!r}, 'there').touch(); time.sleep(600)", act="SIGHUP"),
    Row("reader-gone", 50, None, (141, 0), "", backends="numpy", act="closed"),
    Row("output-exists", 57, None, 2, "already exists and is not empty", backends="numpy", arguments=("-o", "{here}"), files={"x": b"x"}, numpy=None),
    Row("no-steps", 46, None, 2, "", backends="numpy", arguments=("--steps", "-1"), numpy=None),
    Row("bad-rate", 46, None, 2, "", backends="numpy", arguments=("--lr", "nan"), numpy=None),
    Row("object-array", 58, None, 2, "", backends="numpy", arguments=("--data", "{here}/x.npz"), files={"x.npz": b"PK\x03\x04junk"}, numpy=None),
    Row("csv-nan", 59, None, 2, "row 2|line", backends="numpy", arguments=("--data", "{here}/x.csv", "--target", "y"), files={"x.csv": b"a,y\n1,0\nnan,1\n2,0\n"}, numpy=None),
    Row("csv-ragged", 59, None, 2, "", backends="numpy", arguments=("--data", "{here}/x.csv", "--target", "y"), files={"x.csv": b"a,y\n1,0\n1,2,3\n2,0\n"}, numpy=None),
    Row("csv-one-class", 59, None, 2, "", backends="numpy", arguments=("--data", "{here}/x.csv", "--target", "y"), files={"x.csv": b"a,y\n1,0\n2,0\n"}, numpy=None),
    Row("corrupt-record", 54, None, 2, "damaged", command=("show-damaged",), backends="numpy", numpy=None),
    Row("newer-schema", 55, None, 2, "schema version 99", command=("show-newer",), backends="numpy", numpy=None),
]  # fmt: skip

ROWS = {row.id: row for row in (*PROCESS, *CONTRACT, *COMMAND)}
