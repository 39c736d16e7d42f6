"""The cost of an import, whatever the module does while it is imported."""

from __future__ import annotations

import psutil
import pytest

from compare_ag.host.bare import bare_import_seconds
from compare_ag.host.launch import Launch


@pytest.fixture
def seconds(tmp_path, monkeypatch):
    def imported(source: str, deadline: float = 10.0) -> float | None:
        (tmp_path / "costly_module.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        return bare_import_seconds("costly_module", Launch("costly.import", tmp_path, 1, 0, deadline))

    return imported


def test_an_import_takes_as_long_as_it_takes(seconds):
    slept = seconds("import time; time.sleep(0.2)")
    assert slept is not None
    assert slept >= 0.2


def test_nothing_is_loaded_before(seconds):
    assert seconds("import sys\nassert not {'numpy', 'compare_ag', 'msgspec'} & sys.modules.keys()") is not None


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit(3)",
        "import os; os._exit(0)",
        "raise ValueError('no')",
        "import os; os.closerange(3, 50)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, sys; os.write(int(sys.argv[2]), b'junk' * 100)",
        "def broken(:",
    ],
)
def test_an_import_that_fails_has_no_cost(seconds, source):
    assert seconds(source) is None


def test_one_that_hangs_ends_at_the_deadline(seconds):
    assert seconds("import time; time.sleep(60)", deadline=0.3) is None


def test_noise_on_the_standard_streams_changes_nothing(seconds):
    assert seconds("import sys\nprint('x' * 100000)\nsys.stderr.write('y' * 100000)") is not None


def test_nothing_that_an_import_starts_outlives_it(seconds, tmp_path):
    start = "import subprocess\nchild = subprocess.Popen(['sleep', '63'], start_new_session=True, env={})\n"
    assert seconds(start + f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))") is not None
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
