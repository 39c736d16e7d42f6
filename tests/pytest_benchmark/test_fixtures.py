"""The fixtures in a stranger's pytest suite, and the way back from pytest-benchmark's JSON to a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import psutil
import pytest

import compare_ag
from compare_ag.pytest_benchmark.imported import import_benchmark
from compare_ag.records import RecordError
from compare_ag.report.summary import fastest
from compare_ag.report.terminal import answer

SPEED = """
import pytest

@pytest.mark.ag_problem("synthetic:n=50,d=3", l2=0.1, threads=1)
@pytest.mark.parametrize("phase", ["make_tensor", "forward", "backward", "update", "step"])
def test_speed(ag_benchmark, phase):
    ag_benchmark(phase, rounds=20)
"""


@pytest.fixture
def session(tmp_path):
    """Run pytest on a source in an empty folder; return status, text and the JSON if there is one."""

    def run(source, *options):
        (tmp_path / "test_mine.py").write_text(source)
        kept = tmp_path / "measured.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-W",
            "ignore:Not saving anything",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
        ]
        done = subprocess.run(
            [*command, "test_mine.py", f"--benchmark-json={kept}", *options],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip  # a command line
        return done.returncode, done.stdout + done.stderr, kept

    return run


@pytest.mark.thorough
def test_a_file_reads_back_as_a_run(session, tmp_path):
    status, text, kept = session(SPEED, "--ag-backends", "numpy,autograd", "--benchmark-save-data")
    assert status == 0, text
    assert "10 passed" in text
    document = json.loads(kept.read_text())
    assert {one["group"] for one in document["benchmarks"]} == {
        f"{phase} synthetic 50x3" for phase in ("make_tensor", "forward", "backward", "update", "step")
    }
    assert document["compare_ag"]["backends"]["numpy"]["os_threads"] >= 1
    assert document["compare_ag"]["environment"]["cpu"]
    (run,) = import_benchmark(kept, tmp_path / "run")
    medians = {(one["extra_info"]["compare_ag"]["backend"], one["extra_info"]["compare_ag"]["phase"]): one["stats"]["median"]
               for one in document["benchmarks"]}  # fmt: skip  # one table
    for name in ("numpy", "autograd"):
        cost = run[name].cost
        assert cost.step.value == medians[name, "step"]
        assert cost.phases["backward"].value == medians[name, "backward"]
        assert cost.step.low is None
    assert run.manifest.problem.name == "synthetic"
    assert run.manifest.problem.l2 == 0.1
    assert run.exit_code == 0
    assert compare_ag.load_run(tmp_path / "run").records == run.records
    assert len(compare_ag.records.read_arrays(run.path / run["numpy"].timing_arrays, None)["step_seconds"]) == 20
    (pair,) = run.manifest.speed.pairs
    assert (pair.backend, pair.baseline, pair.verdict) == ("autograd", "numpy", "inconclusive")


PARAMETERS = """
import pytest
from compare_ag.host.discovery import discover

@pytest.mark.parametrize("ag_backend", discover().select(["numpy"]))
def test_chosen_here(ag_benchmark):
    ag_benchmark(rounds=20)

def test_of_another_fixture(benchmark, ag_backend):
    benchmark.pedantic(lambda: None, rounds=1)

def test_without_parameters(benchmark):
    benchmark.pedantic(lambda: None, rounds=1)
"""


def test_a_backend_as_parameter_is_its_name_and_no_folder_of_the_machine(session, tmp_path):
    status, text, kept = session(
        PARAMETERS, "--ag-backends", "autograd", "--benchmark-group-by", "param:ag_backend", "-k", "chosen or another"
    )
    assert status == 0, text
    params = {one["name"].partition("[")[0]: one["params"] for one in json.loads(kept.read_text())["benchmarks"]}
    assert params == {
        "test_chosen_here": {"ag_backend": "numpy"},
        "test_of_another_fixture": {"ag_backend": "autograd"},
    }
    assert "'ag_backend=numpy'" in text
    for folder in (str(tmp_path), sys.prefix, sys.base_prefix, "site-packages", "UNSERIALIZABLE"):
        assert folder not in kept.read_text()


def test_a_file_without_a_backend_is_left_alone(session):
    status, text, kept = session(PARAMETERS, "-k", "without")
    assert status == 0, text
    (benchmark,) = json.loads(kept.read_text())["benchmarks"]
    assert benchmark["params"] is None


def test_a_file_from_before_parameters_had_names_reads_back(session, tmp_path):
    _, text, kept = session(SPEED, "--ag-backends", "numpy", "-k", "step")
    document = json.loads(kept.read_text())
    for one in document["benchmarks"]:
        assert one["params"] == {"ag_backend": "numpy", "phase": "step"}, text
        one["params"]["ag_backend"] = "UNSERIALIZABLE[Offer(name='numpy', module='compare_ag_numpy')]"
    kept.write_text(json.dumps(document))
    (run,) = import_benchmark(kept, tmp_path / "run")
    assert run["numpy"].cost.step.value == document["benchmarks"][0]["stats"]["median"]


@pytest.mark.thorough
def test_an_imported_run_ranks_nobody_and_says_so(session, tmp_path):
    _, _, kept = session(SPEED, "--ag-backends", "numpy,autograd", "-k", "step")
    command = [sys.executable, "-m", "compare_ag", "import-benchmark", str(kept), "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "timed by pytest-benchmark, after a check of the numbers" in done.stdout
    assert "Ratios with intervals: compare-ag run --backends numpy,autograd" in done.stdout
    again = [sys.executable, "-m", "compare_ag", "show", str(tmp_path / "run"), "--details"]
    details = " ".join(subprocess.run(again, capture_output=True, text=True, check=True).stdout.split())
    assert "No backend is ranked" in details
    assert "in one process, one after the other" in details
    run = compare_ag.load_run(tmp_path / "run")
    assert "agree" not in answer(run).plain
    assert "it is not decided which is faster" in " ".join(fastest(run))


@pytest.mark.thorough
def test_several_problems_become_several_runs(session, tmp_path):
    other = SPEED.replace("n=50", "n=60").replace("test_speed", "test_other")
    _, text, kept = session(SPEED + other, "--ag-backends", "numpy", "-k", "step")
    assert "2 passed" in text
    runs = import_benchmark(kept, tmp_path / "runs")
    assert sorted(run.path.name for run in runs) == ["synthetic-50x3", "synthetic-60x3"]


def test_wrong_numbers_fail_before_they_are_timed(session, install_plugin, good_plugin):
    install_plugin("mine", good_plugin.replace("v - rate * g", "v - rate * g * type(rate)(1.001)"))
    status, text, kept = session(SPEED, "--ag-backends", "mine")
    assert status == 1
    assert "5 failed" in text
    assert "update: w" in text
    assert not kept.exists() or not json.loads(kept.read_text())["benchmarks"]


AT_17 = """        self.calls = getattr(self, "calls", -1) + 1
        if self.calls == 17:
            {statement}
        w, b = weights
        z"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("__import__('os')._exit(9)", "crashed: exit code 9"),
        ("__import__('ctypes').string_at(0)", "crashed: killed by SIGSEGV"),
        ("__import__('time').sleep(600)", "timeout: no result within 3 s"),
        ("raise SystemExit(0)", "crashed: SystemExit: 0"),
    ],
)
def test_a_backend_that_dies_or_hangs_costs_its_own_tests(statement, said, session, install_plugin, good_plugin):
    install_plugin("mine", good_plugin.replace("        w, b = weights\n        z", AT_17.format(statement=statement)))
    status, text, kept = session(SPEED, "--ag-backends", "mine,numpy", "--ag-timeout", "3")
    assert status == 1
    # after a hang the backend is not asked again: its other tests fail before they begin
    assert ("1 failed, 5 passed, 4 errors" if "timeout" in said else "5 failed, 5 passed") in text
    assert f"backend mine: {said}" in text
    (run,) = import_benchmark(kept, kept.parent / "run")
    assert list(run.records) == ["numpy"]


@pytest.mark.thorough
def test_a_hang_costs_its_timeout_once(session, install_plugin, good_plugin):
    install_plugin(
        "mine",
        "import time, pathlib\nwith open(pathlib.Path(__file__).with_name('starts'), 'a') as f: f.write('x')\ntime.sleep(600)",
    )
    _, text, kept = session(SPEED, "--ag-backends", "mine", "--ag-timeout", "3")
    assert "5 failed" in text or "5 errors" in text
    assert (kept.parent / "site" / "starts").read_text() == "x"


def test_no_worker_outlives_the_session(session, install_plugin, good_plugin):
    source = "import os, pathlib\npathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
    install_plugin("mine", source + good_plugin)
    status, text, kept = session(SPEED, "--ag-backends", "mine", "-k", "step")
    assert status == 0, text
    assert not psutil.pid_exists(int((kept.parent / "site" / "pid").read_text()))


def test_the_tests_own_marker_is_kept(session):
    source = SPEED.replace(
        "@pytest.mark.parametrize", "@pytest.mark.benchmark(disable_gc=True)\n@pytest.mark.parametrize"
    )
    status, text, kept = session(source, "--ag-backends", "numpy", "-k", "step")
    assert status == 0, text
    (benchmark,) = json.loads(kept.read_text())["benchmarks"]
    assert benchmark["options"]["disable_gc"] is True


def test_a_test_may_choose_the_backend_itself(session):
    source = """
import pytest
from compare_ag.host.discovery import discover

@pytest.mark.parametrize("ag_backend", discover().select(["numpy"]))
def test_one(ag_benchmark):
    ag_benchmark()
"""
    status, text, _ = session(source, "--benchmark-disable", "--ag-backends", "autograd")
    assert status == 0, text
    assert "1 passed" in text


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (SPEED, ("--ag-backends", "nunpy"), "no backend 'nunpy'; did you mean 'numpy'?"),
        (SPEED.replace("synthetic:n=50,d=3", "sede"), ("--ag-backends", "numpy"), "ag_problem: "),
        (SPEED.replace('"step"', '"walk"'), ("--ag-backends", "numpy"), "expected one of make_tensor, forward"),
    ],
)
def test_what_cannot_be_is_one_clear_message(session, source, options, said):
    status, text, _ = session(source, *options)
    assert status != 0
    assert said in text


def test_without_pytest_benchmark_the_fixture_says_what_to_install(tmp_path):
    (tmp_path / "test_mine.py").write_text(SPEED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:benchmark", "-p", "no:cacheprovider", "--rootdir", "."]
    done = subprocess.run(
        [*command, "--ag-backends", "numpy"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ag_benchmark needs pytest-benchmark: pip install 'compare-ag[bench]'" in done.stdout


def test_the_plugin_imports_nothing_heavy_when_pytest_loads_it(tmp_path):
    program = (
        "import sys, pytest\n"
        "class Look:\n"
        "    def pytest_sessionfinish(self):\n"
        "        heavy = {'numpy', 'torch', 'autograd', 'msgspec', 'flint', 'rich'} & set(sys.modules)\n"
        "        print('HEAVY', sorted(heavy), 'compare_ag.pytest_benchmark.plugin' in sys.modules)\n"
        "pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:benchmark', '-p', 'no:hypothesispytest', '-p', 'no:xdist'],"
        " plugins=[Look()])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "HEAVY [] True" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("{", "is no JSON of pytest-benchmark"),
        ('{"benchmarks": []}', "holds no benchmark of the fixture ag_benchmark"),
        ('{"benchmarks": [{"stats": {"median": 1.0, "rounds": 3}, "extra_info": {}}]}', "holds no benchmark"),
        (
            '{"benchmarks": [{"stats": {"median": "fast", "rounds": 3}, "extra_info": {}}]}',
            "is no JSON of pytest-benchmark",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content, said):
    path = tmp_path / "given.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=said):
        import_benchmark(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_nan_in_another_tests_facts_and_a_byte_order_mark_are_read(session, tmp_path, encoding):
    _, _, kept = session(SPEED, "--ag-backends", "numpy", "-k", "step")
    document = json.loads(kept.read_text())
    document["benchmarks"].append({"stats": {"median": 1.0, "rounds": 3}, "extra_info": {"loss": math.nan}})
    kept.write_text(json.dumps(document), encoding=encoding)
    assert "NaN" in kept.read_text(encoding)
    (run,) = import_benchmark(kept, tmp_path / "run")
    assert run["numpy"].cost.step.value > 0


def test_a_lone_surrogate_arrives_as_an_escape(session, tmp_path):
    _, _, kept = session(SPEED, "--ag-backends", "numpy", "-k", "step")
    document = json.loads(kept.read_text())
    for backend in document["compare_ag"]["backends"].values():
        backend["version"] = "1.0\ud800"
    kept.write_text(json.dumps(document))
    (run,) = import_benchmark(kept, tmp_path / "run")
    assert run["numpy"].version == "1.0\\ud800"


def test_a_file_of_another_version_or_with_holes_is_refused(session, tmp_path):
    _, _, kept = session(SPEED, "--ag-backends", "numpy", "-k", "step")
    document = json.loads(kept.read_text())

    def changed(**block):
        kept.write_text(json.dumps(document | {"compare_ag": document["compare_ag"] | block}))
        with pytest.raises(RecordError) as error:
            import_benchmark(kept, tmp_path / "run")
        return str(error.value)

    assert "reads 1.x" in changed(schema={"name": "compare-ag/pytest-benchmark", "major": 2})
    assert "does not describe the problem" in changed(problems={})
    assert "does not describe the backend 'numpy'" in changed(backends={})
