"""A run whose files cannot be kept: the table is printed from memory, and the exit code is 6."""

from __future__ import annotations

from pathlib import Path

import pytest

import compare_ag
from compare_ag import records
from compare_ag.exit_codes import ExitCode
from compare_ag.report.terminal import print_run

pytestmark = pytest.mark.usefixtures("calm")


def shown(run: compare_ag.Run) -> str:
    from rich.console import Console

    console = Console(width=160, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115 - for one print
    print_run(run, console)
    console.file.close()
    return console.export_text()


@pytest.mark.thorough
def test_a_run_that_nothing_can_be_saved_of_has_its_table(monkeypatch, tmp_path, brief):
    def full(path, data):
        raise records.SaveError(f"could not save {path.name}: No space left on device")

    monkeypatch.setattr("compare_ag.records.files.write_bytes", full)
    run = compare_ag.run(["numpy"], steps=10, timing=brief, output=tmp_path / "run", report=False)
    assert run.exit_code == ExitCode.NOT_SAVED
    assert run["numpy"].status == "ok"
    assert len(run.arrays("numpy")["losses"]) == 11
    text = shown(run)
    assert "numpy agrees" in text
    assert "what is printed here is all that is left of this run" in " ".join(text.split())


DELETES = """
        self.calls = getattr(self, "calls", -1) + 1
        if self.calls == 17:
            from pathlib import Path
            while not Path({out!r}, "records", "numpy.json").exists():
                __import__("time").sleep(0.02)
            for part in ("records", "arrays"):
                for one in Path({out!r}, part).glob("*"):
                    one.unlink()
        z = batch.X @ w + b
"""


def test_files_that_a_plugin_deletes_are_written_again(install_plugin, good_plugin, tmp_path):
    out = tmp_path / "run"
    source = good_plugin.replace("        z = batch.X @ w + b\n", DELETES.format(out=str(out)))
    install_plugin("mine", source)
    run = compare_ag.run(["numpy", "mine"], "synthetic:n=50,d=3", steps=50, timing=False, output=out)
    assert run.exit_code == ExitCode.NOT_SAVED
    assert {record.status for record in run.records.values()} == {"ok"}
    assert any("deleted or changed" in warning for warning in run.manifest.warnings)
    again = compare_ag.load_run(out)
    assert again.records == run.records
    assert len(again.arrays("numpy")["losses"]) == 51
    assert Path(out, "arrays", "reference.npz").is_file()
