"""Runs whose numbers leave the format: a warning and no accusation, in every report, and no warning of numpy's anywhere.

Warnings are errors here, and a worker's go to its log, which must be empty.
"""

from __future__ import annotations

import numpy as np
import pytest

import compare_ag
from compare_ag.cli import main
from compare_ag.problem import Data, make_problem

EXTREMES = {
    "rate 1e100": ("seed", {"learning_rate": 1e100, "dtype": "float64"}),
    "rate 1e308": ("seed", {"learning_rate": 1e308, "dtype": "float64", "loss": "logits"}),
    "rate 1e38 in float32": ("seed", {"learning_rate": 1e38}),
    "rate 1e308, many examples": ("synthetic:n=30,d=3", {"learning_rate": 1e308, "loss": "probability"}),
    "rate 1e100 and batches": ("synthetic:n=30,d=3", {"learning_rate": 1e100, "batch_size": 7}),
    "penalty 1e30": ("seed", {"l2": 1e30}),
    "penalty 1e30 at a rate of 1": ("synthetic:n=30,d=3", {"l2": 1e30, "learning_rate": 1.0, "dtype": "float32"}),
    "penalty 1e308": ("synthetic:n=30,d=3", {"l2": 1e308, "learning_rate": 1.0}),
    "infinite weights": (
        "synthetic:n=30,d=3",
        {"l2": 1e30, "learning_rate": 1e20, "dtype": "float32", "steps": 1},
    ),
    "doubling weights": ("synthetic:n=30,d=3", {"l2": 3.0, "learning_rate": 1.0, "steps": 1100}),
}


def command(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code)


def silent(run) -> bool:
    return not any(path.read_text() for path in (run.path / "logs").glob("*") if path.suffix == ".txt")


@pytest.mark.thorough
@pytest.mark.few("rate 1e100 and batches")
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_numbers_are_never_held_against_a_backend(name, tmp_path, capsys):
    problem, facts = EXTREMES[name]
    found = compare_ag.run(
        ["numpy", "autograd", "torch"], problem, timing=False, output=tmp_path / "run", **{"steps": 20} | facts
    )
    for record in found.records.values():
        assert record.status in ("ok", "undecidable"), record.reason
        assert "could not be computed" not in record.reason
        for verdict in filter(None, (record.verdict, record.fused_verdict)):
            assert not verdict.diagnosis
            assert all(not test.findings and not np.isnan(float(test.ratio)) for test in verdict.tests)
    assert silent(found)
    for arguments in (["report"], ["show"], ["compare", found.path], ["export", "--format", "md"]):
        assert command(arguments[0], found.path, *arguments[1:]) == 0, capsys.readouterr().err
    for form in ("csv", "svg", "png"):
        code = command("export", found.path, "--format", form, "-o", tmp_path / form)
        said = capsys.readouterr().err
        assert code == 0 or "nothing to draw" in said, said
        assert "Warning" not in said


@pytest.mark.parametrize(("size", "dtype", "status"), [(1e58, "float64", "ok"), (1e20, "float32", "undecidable")])
def test_huge_data_are_decided_as_far_as_the_format_goes(size, dtype, status, tmp_path):
    X = size * np.random.default_rng(0).normal(size=(8, 3))
    data = Data(X, np.arange(8.0) % 2, "huge", "made by hand")
    problem = make_problem(data, dtype=dtype, steps=12, learning_rate=None if status == "ok" else 1.0)
    found = compare_ag.run(["numpy"], problem, timing=False, output=tmp_path / "run")
    assert found["numpy"].status == status, found["numpy"].reason
    assert silent(found)


WIDER = """
    def make_tensor(self, array, *, requires_grad=False):
        self.kind = array.dtype
        return np.array(array, dtype=np.longdouble)

    def to_numpy(self, tensor):
        return np.asarray(tensor, dtype=self.kind)

    def forward"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_backend_that_keeps_its_weights_in_long_double_is_right_and_said_to(
    dtype, install_plugin, good_plugin, tmp_path
):
    if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps and dtype == "float64":
        pytest.skip("long double is float64 here")
    right = good_plugin.replace("    def to_numpy(self, tensor):\n        return tensor\n", "")
    right = right.replace(
        "\n    def make_tensor(self, array, *, requires_grad=False):\n        return np.array(array)\n", ""
    )
    install_plugin(
        "wider", right.replace("\n    def forward", WIDER).replace("z.dtype.type(self.l2 / 2)", "self.l2 / 2")
    )
    record = compare_ag.run(["wider"], steps=300, dtype=dtype, timing=False, output=tmp_path / "run")["wider"]
    assert record.status == "ok", record.reason
    assert record.verdict.remark == f"keeps weights in more than {dtype}"
    assert all(float(test.ratio) <= 1 for test in record.verdict.tests)
