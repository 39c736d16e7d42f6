"""The grid: its cells in their order, its file, the keys of its cells."""

from __future__ import annotations

import pytest

from compare_ag.problem import ProblemError
from compare_ag.sweep.grid import cell_key, grid_file, installed_versions, make_grid, plan, read_grid_file

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0"}


def test_every_combination_is_a_cell_and_n_runs_fastest():
    grid = make_grid(
        backends=["numpy"], n=[4, 1e3], d=[2, 20], dtype=["float32", "float64"], threads=[1, 2], loss=["logits"]
    )
    cells = list(grid.cells())
    assert len(cells) == len(set(cells)) == 16
    assert [(cell.n, cell.d) for cell in cells[:4]] == [(4, 2), (1000, 2), (4, 20), (1000, 20)]
    assert {cell.backends for cell in cells} == {("numpy",)}


def test_a_value_that_is_named_twice_counts_once():
    assert make_grid(n=[4, 4.0, 1000]).n == (4, 1000)


def test_without_timing_the_cells_have_no_budget():
    assert {cell.timing_budget for cell in make_grid(timing=False).cells()} == {None}
    assert {cell.timing_budget for cell in make_grid(timing_budget=3).cells()} == {3.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": [1]}, "n must be an integer of at least 2, not 1"),
        ({"n": [2.5]}, "n must be an integer of at least 2, not 2.5"),
        ({"d": [0]}, "d must be an integer of at least 1"),
        ({"d": []}, "d needs at least one value"),
        ({"n": True}, "n must be an integer"),
        ({"dtype": ["float46"]}, "did you mean 'float64'"),
        ({"loss": [3]}, "loss must be a text"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"timing_budget": 0}, "timing-budget must be more than 0"),
        ({"timing": "yes"}, "timing must be true or false"),
        ({"timeout": float("inf")}, "timeout must be a finite number"),
        ({"n": list(range(2, 502)), "d": list(range(1, 302))}, "150,500 cells"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(options, message):
    with pytest.raises(ProblemError) as error:
        make_grid(**options)
    assert message in str(error.value)


def test_the_file_that_is_dumped_is_read_back(tmp_path):
    grid = make_grid(backends=["numpy", "a:b"], n=[4, 100000], l2=1e-05, timing=False, timeout=1.5)
    (tmp_path / "grid.toml").write_text(grid_file(grid))
    assert make_grid(**read_grid_file(tmp_path / "grid.toml")) == grid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n = [4", "is not TOML"),
        ("thread = [1]", "unknown key 'thread'; did you mean 'threads'?"),
        ("zzz = 1", "unknown key 'zzz'; there are backends, n, d,"),
    ],
)
def test_a_file_that_is_no_grid_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ProblemError) as error:
        read_grid_file(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, message in (("absent", "No such file"), ("binary", "not UTF-8")):
        with pytest.raises(ProblemError, match=message):
            read_grid_file(tmp_path / name)


def test_a_key_stands_for_the_cell_and_its_versions(cell):
    key = cell_key(cell(), VERSIONS)
    assert key == cell_key(cell(), dict(reversed(VERSIONS.items())))
    assert len({key, cell_key(cell(n=101), VERSIONS), cell_key(cell(), VERSIONS | {"numpy": "2.4.1"})}) == 3
    assert len({cell_key(cell(threads=t, dtype=dt), VERSIONS) for t in (1, 2) for dt in ("float32", "float64")}) == 4


def test_a_thousand_cells_have_a_thousand_keys():
    planned = plan(make_grid(backends=["numpy"], n=list(range(2, 252)), d=[1, 2], threads=[1, 2]), VERSIONS)
    assert len({one.key for one in planned}) == len(planned) == 1000


def test_versions_are_those_of_host_plugins_and_frameworks_and_import_none():
    import subprocess
    import sys

    code = (
        "import sys; from compare_ag.sweep.grid import installed_versions as v; print(sorted(v(['numpy', 'autograd'])));"
        "print([m for m in ('autograd', 'torch', 'jax', 'compare_ag_numpy', 'dask', 'distributed') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['autograd', 'compare-ag', 'numpy', 'python']", "[]"]


def test_a_plugin_brings_the_version_of_its_distribution(install_plugin):
    install_plugin("third")
    assert installed_versions(["numpy", "third"])["cag-third"] == "1.0"
