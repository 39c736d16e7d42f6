"""``compare-ag doctor``: each finding and its advice, the exit codes, and that a real one is complete."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from compare_ag import doctor as examined
from compare_ag.cli.doctor import doctor
from compare_ag.doctor import HealthItem, clock_step, examine, exit_code
from compare_ag.exit_codes import ExitCode
from compare_ag.host import machine, machine_lock
from compare_ag.host.discovery import Inventory, Offer
from compare_ag.host.probe import ProbeResult

FACTS = {"versions": {"frame": "2.5"}, "dtypes": ["float64"], "import_seconds": 0.5}


def offer(name: str, *requires: str) -> Offer:
    return Offer(name, "m", "dist", "1.0", "folder", requires=requires)


@pytest.fixture
def quiet_machine(monkeypatch):
    """A machine of which nothing is to be said; tests change one thing of it."""
    monkeypatch.setattr(examined, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(examined, "clock_step", lambda: 40e-9)
    for name, value in {
        "load_per_cpu": 0.1, "governor": "performance", "on_battery": False, "settings": {"clock source": "tsc"},
    }.items():  # fmt: skip
        monkeypatch.setattr(machine, name, lambda value=value: value)
    monkeypatch.setattr(machine, "cpu_speeds", lambda _cpus: {0: 1.0, 1: 0.99})
    monkeypatch.setattr(examined, "probe", lambda _offer: ProbeResult(True, "available", "", FACTS))
    return monkeypatch


def found(inventory: Inventory | None = None) -> dict[str, HealthItem]:
    return {one.id: one for one in examine(inventory or Inventory((offer("alpha"),)))}


def test_a_quiet_machine_is_fit_and_says_so(quiet_machine):
    findings = found()
    assert {one.state for one in findings.values() if one.group == "machine"} == {"ok"}
    assert exit_code(list(findings.values()), strict=True) == ExitCode.OK
    assert {"python", "compare-ag", "backend alpha", "extra plots", "cpus", "governor", "load", "clock", "lock", "memory",
            "runs"} <= set(findings)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "id", "said"),
    [
        ("load_per_cpu", 1.5, "load", "other programs are busy: 1.50 per CPU"),
        ("governor", "powersave", "governor", "governed by 'powersave'"),
        ("on_battery", True, "battery", "from its battery"),
        ("settings", {"cgroup cpu.max": "150000 100000"}, "quota", "150000 100000"),
    ],
)
def test_what_moves_times_is_a_warning_with_advice(name, value, id, said, quiet_machine):
    quiet_machine.setattr(machine, name, lambda: value)
    findings = found()
    assert findings[id].state == "warning"
    assert said in findings[id].message
    assert findings[id].advice
    assert exit_code(list(findings.values()), strict=True) == ExitCode.DISAGREE
    assert exit_code(list(findings.values()), strict=False) == ExitCode.OK


def test_one_cpu_a_slow_cpu_and_a_coarse_clock_are_warnings(quiet_machine):
    quiet_machine.setattr(examined, "usable_cpus", lambda: [3])
    quiet_machine.setattr(machine, "cpu_speeds", lambda _cpus: {0: 1.0, 3: 0.5})
    quiet_machine.setattr(examined, "clock_step", lambda: 15e-3)
    findings = found()
    assert {id for id, one in findings.items() if one.state == "warning"} == {"cpus", "unequal-cpus", "clock"}


def test_the_clocks_step_is_the_smallest_that_was_seen():
    readings = iter([0, 0, 500, 500, 700, 1000] + [1000] * examined.CLOCK_READINGS)
    assert clock_step(lambda: next(readings)) == pytest.approx(200e-9)
    assert clock_step(lambda: 7) == math.inf
    assert 0 < clock_step() < 1e-3


def test_a_lock_that_cannot_be_had_or_is_in_use_is_a_warning(quiet_machine, tmp_path, monkeypatch):
    monkeypatch.setenv(machine_lock.VARIABLE, str(tmp_path / "lock"))
    with machine_lock.hold("timing"):
        held = found()["lock"]
    assert (held.state, "timing on this machine" in held.message) == ("warning", True)
    assert found()["lock"].state == "ok"
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    monkeypatch.setenv(machine_lock.VARIABLE, str(tmp_path / "link"))
    refused = found()["lock"]
    assert refused.state == "warning"
    assert "symbolic link" in refused.message
    assert machine_lock.VARIABLE in refused.advice


def test_looking_at_the_lock_leaves_it_free_and_its_notes_as_they_were(quiet_machine, tmp_path, monkeypatch):
    path = tmp_path / "lock"
    monkeypatch.setenv(machine_lock.VARIABLE, str(path))
    with machine_lock.hold("timing"):
        pass
    before = path.read_bytes()
    found()
    assert path.read_bytes() == before
    with machine_lock.hold("timing", wait=False) as held:
        assert not held.failure


def test_missing_and_broken_backends_say_what_to_do(quiet_machine):
    quiet_machine.setattr(
        examined, "probe",
        lambda one: ProbeResult(one.name != "cracked", "x", "raised SystemExit(7)" if one.name == "cracked" else "", FACTS),
    )  # fmt: skip
    findings = found(Inventory((offer("alpha"), offer("cracked"), offer("needy", "frob>=2; extra == 'needy'"))))
    assert findings["backend alpha"].message == "frame 2.5; float64; 0.50 s to import"
    assert (findings["backend cracked"].state, findings["backend cracked"].message) == (
        "broken",
        "raised SystemExit(7)",
    )
    assert findings["backend needy"].state == "missing"
    assert "frob>=2" in findings["backend needy"].advice
    assert exit_code(list(findings.values()), strict=False) == ExitCode.BACKEND_FAILED


def test_a_missing_extra_names_its_purpose_and_its_line(quiet_machine):
    wanted = "an-absent-library>=1"
    quiet_machine.setattr(examined.metadata, "requires", lambda _name: [f"{wanted}; extra == 'plots'"])
    plots = found()["extra plots"]
    assert plots.state == "missing"
    assert plots.message.startswith("figures: export --format svg or png: needs an-absent-library>=1")
    assert wanted in plots.advice
    assert exit_code(list(found().values()), strict=True) == ExitCode.OK  # what is optional may be missing


def test_without_any_backend_nothing_can_run(quiet_machine):
    findings = list(examine(Inventory((offer("needy", "frob>=2; extra == 'needy'"),))))
    assert exit_code(findings, strict=False) == ExitCode.NOTHING_TO_RUN


def test_a_place_that_cannot_take_runs_is_a_warning(quiet_machine, tmp_path, monkeypatch):
    (tmp_path / "reports").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examined.os, "access", lambda _path, _mode: False)
    assert "cannot be written" in found()["runs"].message
    monkeypatch.undo()
    monkeypatch.setattr(examined.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10**6}))
    assert found()["runs"].state == "warning"


def test_the_text_has_both_groups_the_advice_and_the_answer(quiet_machine):
    quiet_machine.setattr(machine, "governor", lambda: "powersave")
    quiet_machine.setattr(examined, "discover", lambda: Inventory((offer("alpha"), offer("ev\x1b[31mil"))))
    done = CliRunner().invoke(doctor, [], catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "Installed"
    assert "The machine" in lines
    assert any(line.lstrip().startswith("-> Ratios are protected") for line in lines)
    assert lines[-2].startswith("Ready to run: alpha")
    assert lines[-1] == "Times from this machine need care: see the warnings."
    assert "\x1b" not in done.stdout


def test_json_is_all_of_stdout_and_has_the_exit_code(quiet_machine):
    quiet_machine.setattr(examined, "discover", lambda: Inventory((offer("alpha"),)))
    done = CliRunner().invoke(doctor, ["--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert document["schema"] == {"name": "compare-ag/doctor", "major": 1, "minor": 0}
    assert (document["exit_code"], done.exit_code, document["fit"]) == (0, 0, True)
    assert {"id", "group", "state", "message", "advice"} == set(document["findings"][0])


def test_an_interrupt_shows_what_was_found(quiet_machine):
    def interrupted():
        raise KeyboardInterrupt

    quiet_machine.setattr(examined, "discover", lambda: Inventory((offer("alpha"),)))
    quiet_machine.setattr(machine, "load_per_cpu", interrupted)
    done = CliRunner().invoke(doctor, [], catch_exceptions=False)
    assert done.exit_code == ExitCode.INTERRUPTED
    assert "backend alpha" in done.stdout
    assert "interrupted" in done.stderr


@pytest.mark.thorough
def test_this_machine_is_examined_for_real():
    findings = {one.id: one for one in examine()}
    assert findings["backend numpy"].state == "ok"
    assert "numpy" in findings["backend numpy"].message
    assert "GB are available" in findings["memory"].message
    assert Path(findings["lock"].message.split()[0]).is_file()
