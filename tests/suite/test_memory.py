"""What a run says about memory, of backends whose needs are known."""

from __future__ import annotations

import numpy as np
import pytest

import compare_ag
from compare_ag.report import tables

PROBLEM = "synthetic:n=30,d=3"
MB = 1_000_000

HUNGRY = """
import numpy as np
from compare_ag import Backend, hookimpl
from compare_ag_numpy import NumpyBackend

LIBRARY = np.ones(60_000_000 // 8)


class Hungry(NumpyBackend):
    def prepare(self, setting):
        super().prepare(setting)
        self.data = np.ones(40_000_000 // 8)
        self.kept = []

    def forward(self, weights, batch):
        scratch = np.ones(30_000_000 // 8)
        self.kept.append(bytes(LEAK))
        return super().forward(weights, batch)

    def tape_bytes(self, weights, batch):
        return TAPE


@hookimpl
def compare_ag_backend():
    return Hungry
"""


def hungry(leak=0, tape="12345"):
    return HUNGRY.replace("LEAK", str(leak)).replace("TAPE", tape)


@pytest.fixture
def measured(install_plugin, tmp_path, once):
    def run(source, **options):
        install_plugin("mine", source)
        found = compare_ag.run(["mine"], PROBLEM, steps=20, timing=once, output=tmp_path / "run", **options)
        assert found["mine"].status == "ok", found["mine"].reason
        return found

    return run


@pytest.mark.thorough
def test_each_part_is_what_the_backend_took(measured):
    found = measured(hungry())["mine"].memory
    assert found.source == "VmHWM"
    assert found.import_bytes == pytest.approx(60 * MB, rel=0.05)
    assert 40 * MB < found.data_bytes < 44 * MB  # with the 1.5 to 2 MB that preparing any backend takes
    assert found.training_bytes == pytest.approx(30 * MB, rel=0.05)
    whole = found.start_bytes + found.import_bytes + found.data_bytes + found.training_bytes
    assert found.peak_bytes == pytest.approx(whole, rel=0.05)
    assert (found.tape_bytes, found.tape_source) == (12345, "plugin")
    assert found.growth_bytes < 50_000


@pytest.mark.thorough
def test_a_large_parent_does_not_show(measured):
    ballast = np.ones(400 * MB // 8)
    found = measured(hungry())["mine"].memory
    assert ballast[-1] == 1
    assert found.peak_bytes < 250 * MB
    assert found.training_bytes == pytest.approx(30 * MB, rel=0.05)


@pytest.mark.thorough
def test_a_leak_is_seen_and_said(measured):
    run = measured(hungry(leak=4096))
    found = run["mine"].memory
    assert found.growth_bytes == pytest.approx(4096 * 1000, rel=0.2)
    assert "mine keeps 4" in " ".join(tables.memory(run).notes)


@pytest.mark.thorough
def test_a_tape_of_plain_numpy_is_measured_from_outside(measured):
    found = measured(hungry(tape="None"))["mine"].memory
    assert found.tape_source == "tracemalloc"
    assert 0 < found.tape_bytes < 10_000  # a few vectors of 30 numbers; not the scratch, which is let go


@pytest.mark.thorough
def test_a_tape_out_of_sight_is_not_guessed(measured):
    source = hungry(tape="None").replace(
        "    def prepare(",
        """    def make_tensor(self, array, *, requires_grad=False):
        import mmap

        hidden = np.frombuffer(mmap.mmap(-1, max(1, array.nbytes)), array.dtype, array.size).reshape(array.shape)
        hidden[...] = array
        return hidden

    def prepare(""",
    )
    found = measured(source)["mine"].memory
    assert found.tape_bytes is None


@pytest.mark.thorough
def test_a_word_about_the_tape_that_is_no_number_is_a_note(measured, calm):
    run = measured(hungry(tape="'much'"))
    assert run["mine"].memory is None
    assert run["mine"].memory_note == "tape_bytes must return a number of bytes or None, got 'much'"
    assert run["mine"].cost is not None


@pytest.mark.thorough
def test_torch_counts_what_autograd_saves(tmp_path, once):
    run = compare_ag.run(["torch"], "synthetic:n=1000,d=5", steps=20, timing=once, output=tmp_path / "run")
    found = run["torch"].memory
    assert found.tape_source == "plugin"
    # softplus saves its argument s, the product its factor 1 - 2y: two vectors of n float64
    assert 2 * 8000 <= found.tape_bytes <= 6 * 8000
    assert found.import_bytes > 50 * MB
