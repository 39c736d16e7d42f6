"""What is read about the machine: from a planted file system, and from the one that is here."""

from __future__ import annotations

import os
import sys

import pytest

from compare_ag.host import machine
from compare_ag.host.environment import capture, usable_cpus


def plant(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_settings_are_those_of_the_files(tmp_path):
    plant(tmp_path, sys__kernel__mm__transparent_hugepage__enabled="always [madvise] never\n")
    plant(tmp_path, proc__cpuinfo="flags\t: fpu sse2 hypervisor\n")
    for cpu, governor in ((0, "performance"), (1, "powersave"), (2, "performance")):
        path = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        path.parent.mkdir(parents=True)
        path.write_text(governor + "\n")
    found = machine.settings(tmp_path)
    assert found["transparent huge pages"] == "madvise"
    assert found["hypervisor"] == "yes"
    assert found["frequency governor"] == "performance, powersave"
    assert "cgroup cpu.max" not in found


def test_a_machine_that_tells_nothing_has_no_settings_of_its_own(tmp_path):
    assert set(machine.settings(tmp_path)) <= {"libc"}
    assert machine.governor(tmp_path) == ""
    assert machine.cpu_times([0], tmp_path / "stat") is None


def test_stolen_time_is_that_of_the_timed_cpus(tmp_path):
    stat = tmp_path / "stat"
    line = "cpu{} 100 0 50 {} 0 0 0 {} 0 0"
    stat.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", line.format(0, 850, 0), line.format(1, 850, 0), "intr 5"]))
    before = machine.cpu_times([1], stat)
    stat.write_text("\n".join([line.format(0, 850, 500), line.format(1, 890, 10)]))
    after = machine.cpu_times([1], stat)
    assert machine.steal_share(before, after) == pytest.approx(10 / 50)
    assert machine.steal_share(before, before) is None
    assert machine.steal_share(None, after) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/stat and affinity")
def test_this_machine_tells_its_ticks_and_its_speeds_and_keeps_the_affinity():
    before = os.sched_getaffinity(0)
    assert machine.cpu_times(usable_cpus()).total > 0
    speeds = machine.cpu_speeds(usable_cpus())
    assert os.sched_getaffinity(0) == before
    assert max(speeds.values()) == 1.0
    assert set(speeds) == set(usable_cpus()[-machine.MOST_PROBED :])


def test_a_slow_cpu_is_seen():
    assert machine.relative_speeds({0: [10, 11, 500], 1: [22, 20, 22]}) == {0: 1.0, 1: 0.5}
    assert machine.relative_speeds({}) == {}


def test_the_environment_tells_what_workers_are_started_with(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    told = capture(3)["thread_variables"]
    assert told["OMP_NUM_THREADS"] == told["OPENBLAS_NUM_THREADS"] == "3"
    assert told["OMP_WAIT_POLICY"] == "passive"
