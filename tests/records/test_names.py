"""File names: from any text, no two alike, legal everywhere, and plain names as they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare_ag.pytest_benchmark.imported import import_benchmark
from compare_ag.records import file_stem, load_run

TEXTS = st.text(st.characters(exclude_categories=()), max_size=300)
NEAR = st.lists(st.sampled_from(["a", "A", ".", "/", "\\", ":", "+", " ", "~", "con", "..", "\0", "é", "e\u0301"])).map(
    "".join
)
DEVICES = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}


@given(TEXTS | NEAR)
def test_a_stem_is_legal_on_every_file_system(name):
    stem = file_stem(name)
    assert 0 < len(stem.encode("ascii")) <= 64
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-+~")
    assert stem not in DEVICES
    assert not stem.startswith("-")


@given(TEXTS | NEAR, TEXTS | NEAR)
def test_no_two_names_have_one_stem_where_case_does_not_count_either(name, other):
    assert (file_stem(name).casefold() == file_stem(other).casefold()) == (name == other)


@pytest.mark.parametrize("name", ["numpy", "torch", "numpy_f32", "my-backend", "x" * 64])
def test_a_plain_name_stands_for_itself(name):
    assert file_stem(name) == name
    assert file_stem(f"dist:{name[:9]}") == f"dist+{name[:9]}"


@pytest.mark.parametrize(
    "name", ["con", "NUL", "reference", "control", "numpy.timing", "a+b", "trailing.", "trailing "]
)
def test_a_name_that_another_file_or_a_device_has_is_not_taken(name):
    assert file_stem(name).partition("~")[2]


@pytest.mark.parametrize("name", ["../../../victim", "/victim", "control", "CON", "a/../b", "x" * 5000, "line\nbreak"])
def test_an_imported_backend_of_any_name_stays_in_its_run(tmp_path, benchmark_document, name):
    victim = tmp_path / "victim.json"
    victim.write_text("mine")
    benchmark_document["benchmarks"][0]["extra_info"]["compare_ag"]["backend"] = name
    block = benchmark_document["compare_ag"]
    block["backends"] = {name: block["backends"]["numpy"]}
    (tmp_path / "measured.json").write_text(json.dumps(benchmark_document))
    (run,) = import_benchmark(tmp_path / "measured.json", tmp_path / "a" / "b" / "run")
    assert load_run(run.path).records == run.records
    assert victim.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "measured.json", "victim.json"}


@pytest.mark.parametrize("threads", ["four", 1.5, 0, -1, True, None, [1], 10**30])
def test_a_number_of_threads_that_is_none_is_refused(tmp_path, benchmark_document, threads):
    from compare_ag.records import RecordError

    benchmark_document["compare_ag"]["backends"]["numpy"]["pools"] = [{"num_threads": threads}]
    (tmp_path / "measured.json").write_text(json.dumps(benchmark_document))
    with pytest.raises(RecordError, match="num_threads of a pool of 'numpy' is not a number of threads"):
        import_benchmark(tmp_path / "measured.json", tmp_path / "run")
    assert not (tmp_path / "run").exists()
