"""CSV files: how they are understood, and what is said about those that cannot be."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare_ag.problem import ProblemError, load_file
from compare_ag.problem.files_csv import SNIFFED_LINES, sniff_delimiter


@pytest.fixture
def load(tmp_path):
    """Write a text (or bytes) to a file and load it."""

    def load(content, target=-1, name="data.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_file(path, target, **options)

    return load


def refusal(load, *arguments, **options):
    with pytest.raises(ProblemError) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert message.startswith("data.csv")
    assert message.isprintable()
    return message


PLAIN = "age,height,label\n1,2.5,no\n3,-4e1,yes\n5,6,no\n"


def assert_plain(data):
    assert data.X.tolist() == [[1, 2.5], [3, -40], [5, 6]]
    assert data.y.tolist() == [0, 1, 0]
    assert data.label_names == ("no", "yes")


# --- what is understood ------------------------------------------------------------------------------------------


def test_a_plain_file(load):
    data = load(PLAIN, "label")
    assert_plain(data)
    assert data.X.dtype == data.y.dtype == np.float64
    assert data.X.flags.c_contiguous
    assert data.name == "data.csv"
    assert data.feature_names == ("age", "height")
    assert data.description == (
        "3 examples × 2 features from data.csv (delimiter comma, a header line, labels in column 'label')"
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("\ufeff" + PLAIN, id="byte-order mark"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r"), id="CR"),
        pytest.param(PLAIN.rstrip("\n"), id="no final newline"),
        pytest.param("\n\n" + PLAIN.replace("\n", "\n \n\n") + "\n\n", id="blank lines"),
        pytest.param(PLAIN.replace(",", ";"), id="semicolon"),
        pytest.param(PLAIN.replace(",", "\t"), id="tab"),
        pytest.param(PLAIN.replace(",", " , "), id="spaces around"),
        pytest.param('"age","height","label"\n"1","2.5","no"\n"3","-4e1","yes"\n"5","6","no"\n', id="all quoted"),
    ],
)
def test_variants_of_the_same_file(load, content):
    assert_plain(load(content, "label"))


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.txt", "data.data", "DATA.CSV"])
def test_extensions(load, name):
    assert_plain(load(PLAIN, "label", name=name))


def test_quoted_cells_may_hold_delimiters_quotes_and_line_ends(load):
    data = load('"a, the ""first""";"label"\n1;"yes;\nreally"\n2;"no, no"\n', 1)
    assert data.X.tolist() == [[1], [2]]
    assert data.feature_names == ('a, the "first"',)
    assert data.label_names == ("no, no", "yes;\\nreally")


# --- target and header -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, "0", -3, "-3", "label", " label "])
def test_the_target_by_number_or_name(load, target):
    data = load("label,a,b\n1,2,3\n0,5,6\n", target)
    assert data.y.tolist() == [1, 0]
    assert data.X.tolist() == [[2, 3], [5, 6]]
    assert data.feature_names == ("a", "b")


@pytest.mark.parametrize("target", [1, "1", -2])
def test_without_a_header_the_first_line_is_data(load, target):
    data = load("1,yes,2\n3,no,4\n", target)
    assert data.X.tolist() == [[1, 2], [3, 4]]
    assert data.y.tolist() == [1, 0]
    assert data.feature_names == ("0", "2")
    assert "no header line, labels in column 1 (counted from 0)" in data.description


def test_a_header_of_numbers_is_one_where_the_target_is_named_in_it(load):
    data = load("0,1,label\n5,6,a\n7,8,b\n", "label")
    assert data.X.tolist() == [[5, 6], [7, 8]]


def test_a_name_in_the_header_comes_before_a_number(load):
    content = "x,0,y\n5,6,7\n7,8,9\n"
    assert load(content, "0").label_names == ("6", "8")
    assert load(content, 0).label_names == ("5", "7")
    assert load("1,yes,0\n3,no,4\n", "1").label_names == ("no", "yes")


def test_an_empty_cell_does_not_make_a_header(load):
    # It is a missing value of a first row, which must not vanish as if it were a header.
    assert "line 1, column 0 (counted from 0): is empty: a missing value" in refusal(load, ",1,a\n2,3,b\n")
    assert "line 1, column 0 (counted from 0): is 'NA': a missing value" in refusal(load, "NA,1,a\n2,3,b\n")


def test_without_a_target_the_columns_are_listed(load):
    message = refusal(load, PLAIN, None)
    assert "--target" in message
    assert "0 'age', 1 'height', 2 'label'" in message
    many = refusal(load, ",".join(f"c{i}" for i in range(50)) + "\n", None)
    assert "0 'c0', 1 'c1'" in many
    assert "…, 49 'c49'" in many


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("labl", ["no column 'labl'", "did you mean 'label'?", "0 'age', 1 'height', 2 'label'"]),
        ("weight kg", ["no column 'weight kg'", "0 'age', 1 'height', 2 'label'"]),
        (3, ["no column 3: there are 3, 0 to 2"]),
        ("-4", ["no column -4: there are 3, 0 to 2"]),
    ],
)
def test_a_missing_column(load, target, parts):
    message = refusal(load, PLAIN, target)
    for part in parts:
        assert part in message


def test_a_name_without_a_header(load):
    message = refusal(load, "1,2,3\n4,5,6\n", "label")
    assert "no column 'label': the columns have no names" in message
    assert "0 to 2" in message


def test_duplicate_names_are_refused_as_target_only(load):
    message = refusal(load, "a,label,label\n1,2,3\n", "label")
    assert "2 columns are called 'label'" in message
    assert "1 'label', 2 'label'" in message
    assert load("a,a,label\n1,2,0\n3,4,1\n", "label").X.tolist() == [[1, 2], [3, 4]]
    assert load("a,label,label\n1,2,0\n3,4,1\n", -1).X.tolist() == [[1, 2], [3, 4]]


# --- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        (["1", "0", "1"], [1, 0, 1], ("0", "1")),
        (["1", "-1", "1"], [1, 0, 1], ("-1", "1")),
        (["10", "9", "10"], [1, 0, 1], ("9", "10")),
        (["-2.5", "-10", "-10"], [1, 0, 0], ("-10", "-2.5")),
        (["1", "1.0", "2", "+1"], [0, 0, 1, 0], ("1", "2")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (["a10", "a9", "a9"], [0, 1, 1], ("a10", "a9")),
        (["1", "yes"], [0, 1], ("1", "yes")),
        (["1_0", "10"], [1, 0], ("10", "1_0")),
        (["ärger", "zorn"], [1, 0], ("zorn", "ärger")),
        (["\x1b[31m", "x"], [0, 1], ("\\x1b[31m", "x")),
    ],
)
def test_any_two_values_are_labels(load, labels, y, names):
    data = load("feature,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)))
    assert data.y.tolist() == y
    assert data.label_names == names


def test_one_class(load):
    assert "column 'label': every label is 'a': training needs two classes" in refusal(load, "x,label\n1,a\n2,a\n")


def test_more_than_two_classes(load):
    three = refusal(load, "x,label\n1,a\n2,b\n3,c\n")
    assert (
        "column 'label': more than two classes: 'a', 'b', 'c' ('c' first in data.csv, line 4, column 'label');" in three
    )
    many = refusal(load, "x,label\n" + "".join(f"1,{i}.5\n" for i in range(100)))
    assert "'0.5', '1.5', '2.5', '3.5', '4.5', … (" in many


def test_a_missing_label(load):
    assert "line 3, column 'label': the label is empty" in refusal(load, "x,label\n1,a\n2,\n")


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "is empty: a missing value; fill it in or remove the row"),
        ("  ", "is empty: a missing value"),
        ("NA", "is 'NA': a missing value"),
        ("?", "is '?': a missing value"),
        ("nan", "is 'nan', which is not finite"),
        ("-inf", "is '-inf', which is not finite"),
        ("1e400", "is 'inf', which is not finite in float64"),
        ("tall", "is 'tall', which is not a number; features must be numeric"),
        ("1_000", "is '1_000': a thousands separator? Write numbers without"),
        ("١", "is '١', which is not a number"),
        ('"1,234"', "is '1,234': a thousands separator or a decimal comma? Write numbers without"),
        ("0x10", "is '0x10', which is not a number"),
        ("\x1b[2J", "is '\\x1b[2J', which is not a number"),
        ("x" * 1000, f"is '{39 * 'x'}…', which is not a number"),
    ],
)
def test_a_cell_that_is_no_finite_number_is_located(load, cell, said):
    message = refusal(load, f"age,height,label\n1,2,a\n\n3,{cell},b\n5,6,a\n")
    assert "data.csv, line 4, column 'height': " + said in message
    assert len(message) < 200


def test_the_column_is_right_on_both_sides_of_the_target_and_without_names(load):
    assert "line 2, column 2 (counted from 0): is 'x'" in refusal(load, "1,a,2\n1,b,x\n", 1)
    assert "line 2, column 0 (counted from 0): is 'x'" in refusal(load, "1,a,2\nx,b,2\n", 1)
    assert "line 2, column 2 (counted from 0): is 'nan'" in refusal(load, "1,a,2\n1,b,nan\n", 1)


def test_lines_are_counted_as_an_editor_counts_them(load):
    message = refusal(load, 'x,label\n1,"a\nsecond\nthird"\n\nbad,b\n')
    assert "line 6, column 'x'" in message


@pytest.mark.parametrize(("line", "cells"), [("1,2", 2), ("1,2,3,4", 4), ("1", 1)])
def test_ragged_rows(load, line, cells):
    assert f"line 3: {cells} cells where the first line has 3" in refusal(load, f"a,b,label\n1,2,x\n{line}\n3,4,y\n")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1,2", "x,2,a", '1,"2"3,a'], "line 3: 2 cells"),
        (["x,2,a", "1,2", '1,"2"3,a'], "line 3, column 'a': is 'x'"),
        (["1,nan,a", "x,2,a", "1,2,"], "line 3, column 'b': is 'nan'"),
        (["1,2,", "x,2,a", "1,2"], "line 3, column 'label': the label is empty"),
        (['1,"2"3,a', "x,2,a", "1,2"], "line 3: wrong quoting"),
    ],
)
def test_of_several_faults_the_first_in_the_file_is_named(load, lines, said):
    assert said in refusal(load, "\n".join(["a,b,label", "1,2,b", *lines]))


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \n"])
def test_an_empty_file(load, content):
    assert refusal(load, content) == "data.csv: the file is empty"


def test_a_header_only(load):
    assert refusal(load, "a,b,label\n") == "data.csv: a header line and no data"


def test_one_column_only(load):
    assert "one column only" in refusal(load, "label\n1\n2\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x,label\n1,a\n2,\xe9t\xe9\n", "line 3: not UTF-8"),
        (b"x,label\r1,a\r\r2,\xe9t\xe9\r", "line 4: not UTF-8"),
        (PLAIN.encode("utf-16"), "line 1: not UTF-8"),
        (PLAIN.encode("utf-16-le"), "line 1: a NUL byte"),
        (b"x,label\n1,a\n\0,b\n", "line 3: a NUL byte"),
        (b"x,label\n" + 50_000 * b"1,abcdefg\n" + b"\xff,a\n", "line 50002: not UTF-8"),
    ],
)
def test_what_is_not_utf8_text(load, content, said):
    message = refusal(load, content)
    assert said in message
    assert "save " in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('x,label\n1,"a\n2,b\n', "line 2: a quote is opened here and never closed"),
        ('x,label\n1,"a"b\n', "line 2: wrong quoting"),
        ('x,label\n1,a\n2,"' + "b\n" * 100_000, "line 3: a cell of more than 131,072 characters"),
    ],
)
def test_wrong_quoting(load, content, said):
    assert said in refusal(load, content)


def test_a_file_too_large_for_memory_is_refused_before_it_is_read(load):
    content = "a,b,label\n" + "1.25,2.25,x\n" * 500 + "this would be an error\n"
    message = refusal(load, content, available=lambda: 10_000)
    assert "too large for memory" in message
    assert "9.8 KiB are available" in message
    estimated = int(message.split("about ")[1].split(" cells")[0].replace(",", ""))
    assert 1500 <= estimated <= 1510


def test_the_estimate_holds_beyond_the_part_that_is_looked_at(load):
    row = "1.25,2.25,3.25,x\n"
    rows = 30 * SNIFFED_LINES
    message = refusal(load, row * rows, available=lambda: 0)
    estimated = int(message.split("about ")[1].split(" cells")[0].replace(",", ""))
    assert estimated == pytest.approx(4 * rows, rel=0.01)
    too_small, enough = 4 * rows * 239, 4 * rows * 241
    assert "too large" in refusal(load, row * rows, available=lambda: too_small)
    assert "every label is 'x'" in refusal(load, row * rows, available=lambda: enough)


# --- delimiters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("x, cm;y, cm;label\n1;2;yes\n", ";"),
        ("1,5;2,5;yes\n2,5;3,5;no\n", ";"),
        ("1\t2\tyes, sir\n3\t4\tno, sir\n", "\t"),
        ('1,"a;b"\n2,"c;d"\n', ","),
        ('1;"a,1,2,3,b"\n2;"c,4,5,6,d"\n', ";"),
        ("1,2,3\n4,5\n6,7,8\n", ","),
        ("1;2;3\n4;5\n6;7;8\n", ";"),
        ("single\n1\n", ","),
        ("", ","),
        ("\n\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_splits_the_lines_alike(text, delimiter):
    assert sniff_delimiter(text.splitlines(keepends=True)) == delimiter


def test_a_line_longer_than_what_is_looked_at(load):
    width = 1 << 18
    row = ";".join(["1.25"] * width)
    data = load(f"{row};a\n{row};b\n")
    assert data.X.shape == (2, width)


TEXT = st.text(st.sampled_from("abz ä_'\"\n1.,;\t"), min_size=1, max_size=8).map(lambda text: f"q{text}q")
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_what_is_written_is_read(tmp_path, delimiter, draw):
    d = draw.draw(st.integers(1, 4))
    n = draw.draw(st.integers(2, 8))
    names = draw.draw(st.lists(TEXT, min_size=d + 1, max_size=d + 1, unique=True))
    X = np.array(draw.draw(st.lists(st.lists(NUMBER, min_size=d, max_size=d), min_size=n, max_size=n)))
    classes = sorted(draw.draw(st.lists(TEXT, min_size=2, max_size=2, unique=True)))
    y = [0, 1, *draw.draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    target = draw.draw(st.integers(0, d))

    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=draw.draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(names)
    for row, label in zip(X.tolist(), y, strict=True):
        writer.writerow([*row[:target], classes[label], *row[target:]])
    path = tmp_path / "data.csv"
    path.write_text(draw.draw(st.sampled_from(["", "\ufeff"])) + text.getvalue(), encoding="utf-8", newline="")

    data = load_file(path, draw.draw(st.sampled_from([names[target], target, target - d - 1])))
    assert np.array_equal(data.X, X)
    assert data.y.tolist() == y
    assert [name.replace("\\", "") for name in data.label_names] == [
        name if name.isprintable() else repr(name)[1:-1].replace("\\", "") for name in classes
    ]
    assert len(data.feature_names) == d
    assert all(math.isfinite(value) for value in data.X.ravel())
