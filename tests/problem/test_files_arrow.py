"""Parquet files and data frames."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from compare_ag.problem import ProblemError, load_file, make_problem

COLUMNS = {"a": [1.5, 0.3, 2.2, 0.1], "b": [2, 1, 3, 5], "kind": ["cat", "dog", "cat", "dog"]}
X = [[1.5, 2], [0.3, 1], [2.2, 3], [0.1, 5]]
MAKERS = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": pyarrow.table}


@pytest.mark.parametrize("library", MAKERS)
def test_a_frame_becomes_a_problem(library):
    problem = make_problem(MAKERS[library](COLUMNS), target="kind", steps=5)
    assert problem.X.tolist() == X
    assert problem.y.tolist() == [0, 1, 0, 1]
    assert problem.data.feature_names == ("a", "b")
    assert problem.data.label_names == ("cat", "dog")
    assert problem.data.description == f"4 examples × 2 features from frame ({library} frame, labels in column 'kind')"


@pytest.mark.parametrize("library", MAKERS)
@pytest.mark.parametrize(
    ("options", "columns"),
    [({"features": ["b"]}, [1]), ({"drop": "a"}, [1]), ({"drop": [1]}, [0]), ({"features": "a"}, [0])],
)
def test_columns_are_chosen(library, options, columns):
    data = make_problem(MAKERS[library](COLUMNS), target="kind", **options).data
    assert data.X.tolist() == [[row[column] for column in columns] for row in X]


def test_standardising_leaves_the_frame_alone():
    frame = pandas.DataFrame(COLUMNS)
    data = make_problem(frame, target="kind", standardize=True).data
    assert np.allclose(data.X.std(axis=0), 1)
    assert frame["a"].tolist() == COLUMNS["a"]


def test_the_index_of_a_pandas_frame_is_no_feature():
    frame = pandas.DataFrame(COLUMNS, index=[7, 3, 9, 1])
    assert make_problem(frame, target="kind").data.X.tolist() == X


@pytest.mark.parametrize(
    "labels",
    [
        pandas.Series(["cat", "dog", "cat", "dog"], dtype="category"),
        pandas.Series([False, True, False, True]),
        pandas.Series([-1, 1, -1, 1]),
        pandas.Series([0.5, 1.5, 0.5, 1.5]),
        pandas.Series([2**53, 2**53 + 1, 2**53, 2**53 + 1]),
    ],
)
def test_labels_of_any_type(labels):
    frame = pandas.DataFrame({**COLUMNS, "kind": labels})
    assert make_problem(frame, target="kind").y.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.5, None, 2.0, 1.0], "pandas frame, column 'a', row 1 (counted from 0): is empty: a missing value"),
        ([1.5, 1.0, np.inf, 1.0], "row 2, column 'a' (counted from 0) of X is inf"),
        (["x", "y", "z", "w"], "column 'a': is of type "),
        (pandas.to_datetime(["2020-01-01"] * 4), "column 'a': is of type timestamp"),
        ([[1], [2], [3], [4]], "column 'a': is of type list"),
        ([1, "x", 2.0, 3], "pandas frame: cannot be read as a table"),
    ],
)
def test_what_is_no_number_is_located(values, message):
    with pytest.raises(ProblemError) as caught:
        make_problem(pandas.DataFrame({**COLUMNS, "a": values}), target="kind")
    assert message in str(caught.value)


def test_a_missing_label_is_located():
    with pytest.raises(ProblemError, match=r"column 'kind', row 3 \(counted from 0\): is empty: a missing value"):
        make_problem(polars.DataFrame({**COLUMNS, "kind": ["cat", "dog", "cat", None]}), target="kind")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "say which column holds the labels"),
        ("knd", "did you mean 'kind'?"),
        (7, "no column 7: there are 3, 0 to 2"),
    ],
)
def test_the_target_is_asked_for(target, message):
    with pytest.raises(ProblemError) as caught:
        make_problem(pandas.DataFrame(COLUMNS), target=target)
    assert message in str(caught.value)


def test_decimals_are_rounded_once():
    values = [Decimal("0.1"), Decimal("2.675"), Decimal("123456789012345678901234567.123"), Decimal("-7")]
    data = make_problem(
        pyarrow.table({**COLUMNS, "a": pyarrow.array(values, pyarrow.decimal128(38, 3))}), target=2
    ).data
    assert data.X[:, 0].tolist() == [float(value) for value in values]


def test_integers_beyond_float64_are_warned_of():
    (warning,) = make_problem(polars.DataFrame({**COLUMNS, "b": [1, 2, 2**60 + 1, 4]}), target="kind").data.warnings
    assert f"the first is {2**60 + 1} in row 2, column 'b'" in warning
    assert "--drop" in warning


def test_rows_are_counted_over_the_parts_of_a_table():
    first = pyarrow.table({**COLUMNS, "b": [1, 2**60 + 1, 3, 4]})
    second = pyarrow.table({**COLUMNS, "b": [1, 2, 3, 2**61 + 1]})
    (warning,) = make_problem(pyarrow.concat_tables([first, second]), target="kind").data.warnings
    assert f"the first is {2**60 + 1} in row 1, column 'b'" in warning
    broken = pyarrow.table({**COLUMNS, "a": [1.0, np.inf, 2.0, 3.0]})
    with pytest.raises(ProblemError, match=r"row 5, column 'a' \(counted from 0\) of X is inf"):
        make_problem(pyarrow.concat_tables([pyarrow.table(COLUMNS), broken]), target="kind")


def test_other_objects_are_refused():
    with pytest.raises(ProblemError, match="data must be a Data or a data frame of pandas, polars or Arrow, not list"):
        make_problem([[1, 2]], target=0)
    with pytest.raises(ProblemError, match="these data are complete"):
        make_problem(make_problem(pandas.DataFrame(COLUMNS), target="kind").data, target="kind")
    with pytest.raises(ProblemError, match="there are no rows"):
        make_problem(pandas.DataFrame(COLUMNS)[:0], target="kind")


def test_parquet_in_several_row_groups(tmp_path):
    path = tmp_path / "data.parquet"
    rng = np.random.default_rng(0)
    wide = {"label": ["a", "b"] * 500, "x": rng.normal(size=1000), "n": rng.integers(0, 99, 1000).astype(np.int8)}
    pyarrow.parquet.write_table(pyarrow.table(wide), path, row_group_size=70)
    data = load_file(path, "label")
    assert np.array_equal(data.X, np.c_[wide["x"], wide["n"]])
    assert data.y.tolist() == [0, 1] * 500
    assert data.description == "1,000 examples × 2 features from data.parquet (Parquet, labels in column 'label')"


def test_parquet_is_recognised_by_its_content_and_an_index_in_it_warned_of(tmp_path):
    path = tmp_path / "data.bin"
    pandas.DataFrame(COLUMNS, index=[7, 3, 9, 1]).to_parquet(path)
    data = load_file(path, "kind")
    assert data.X[:, 2].tolist() == [7, 3, 9, 1]
    assert "'__index_level_0__'" in data.warnings[0]
    assert "--drop 3" in data.warnings[0]
    assert load_file(path, "kind", drop="3").X.tolist() == X


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + bytes(50) + b"PAR1"])
def test_damaged_parquet(tmp_path, content):
    (tmp_path / "data.parquet").write_bytes(content)
    with pytest.raises(ProblemError, match="cannot be read as Parquet"):
        load_file(tmp_path / "data.parquet", 0)


def test_parquet_larger_than_memory_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": np.zeros(100_000), "y": np.arange(100_000) % 2}), path)
    with pytest.raises(ProblemError, match="too large for memory: about 100,000 cells"):
        load_file(path, "y", available=lambda: 1_000_000)


def test_without_pyarrow_the_message_says_what_to_install(tmp_path):
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table(COLUMNS), path)
    program = f"""
import sys
sys.modules["pyarrow"] = None
from compare_ag.problem import load_file
(open("a.csv", "w").write("1,a\\n2,b\\n"))
print(load_file("a.csv", 1).X.tolist())
try:
    load_file({str(path)!r}, "kind")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("[[1.0], [2.0]]\ndata.parquet is a Parquet file: this needs pyarrow")
    assert "compare-ag[arrow]" in done.stdout
