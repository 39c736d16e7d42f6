"""LIBSVM files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from compare_ag.problem import ProblemError, load_file


@pytest.fixture
def load(tmp_path):
    def load(content, name="data.libsvm", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_file(path, **options)

    return load


def refusal(load, content, **options):
    with pytest.raises(ProblemError) as caught:
        load(content, **options)
    message = str(caught.value)
    assert message.startswith("data.libsvm")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", ["data.libsvm", "data.svm", "data.svmlight"])
def test_zeros_are_filled_in(load, name):
    data = load("+1 1:0.5 3:-2e1\n-1 2:7\n+1\n", name=name)
    assert data.X.tolist() == [[0.5, 0, -20], [0, 7, 0], [0, 0, 0]]
    assert data.y.tolist() == [1, 0, 1]
    assert data.label_names == ("-1", "+1")
    assert data.name == name
    assert "3 entries" in data.description


def test_comments_blank_lines_query_ids_and_line_ends(load):
    content = "\ufeff# a comment\r\n\r\n1 qid:3 1:5 # 2:9\r\n  \r\n2\tqid:4  2:6"
    data = load(content)
    assert data.X.tolist() == [[5, 0], [0, 6]]
    assert data.y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 0:5", "feature index '0': indices are integers from 1"),
        ("1 0:5", "(add 1 to all indices)"),
        ("1 -1:5", "feature index '-1'"),
        ("1 +1:5", "feature index '+1'"),
        ("1 1.0:5", "feature index '1.0'"),
        ("1 1_0:5", "feature index '1_0'"),
        ("1 x:5", "feature index 'x'"),
        ("1 ²:5", "feature index '²'"),
        ("1 99999999999:5", "feature index '99999999999'"),
        (f"1 {5000 * '9'}:5", "feature index '9999"),
        ("1 2:5 1:6", "feature index 1 after 2: indices must ascend"),
        ("1 2:5 2:6", "feature index 2 after 2: indices must ascend"),
        ("1 2", "expected index:value, not '2'"),
        ("1 2:x", "the value of feature 2 is 'x', which is not a number"),
        ("1 2:", "the value of feature 2 is empty: a missing value"),
        ("1 2:3:4", "the value of feature 2 is '3:4', which is not a number"),
        ("1 2:1_0", "the value of feature 2 is '1_0'"),
        ("1 2:١", "the value of feature 2 is '١'"),
        ("1 2:nan", "the value of feature 2 is 'nan', which is not finite"),
        ("1 2:1e999", "the value of feature 2 is '1e999', which is not finite"),
        ("1:5 2:6", "the line begins with '1:5'; a label must come first"),
    ],
)
def test_a_broken_line_is_located(load, line, said):
    message = refusal(load, f"0 1:1\n# comment\n{line}\n")
    assert message.startswith("data.libsvm, line 3: ")
    assert said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("# nothing\n\n", "the file is empty"),
        ("1\n2\n", "no line has a feature"),
        ("1 1:1\n1 1:2\n", "every label is '1': training needs two classes"),
        ("1 1:1\n2 1:2\n3 1:2\n", "more than two classes: '1', '2', '3' ('3' first in data.libsvm, line 3)"),
        (b"1 1:1\n2 1:\xff\n", "line 2: not UTF-8"),
        (b"1 1:1\n2 1:\x00\n", "line 2: a NUL byte"),
    ],
)
def test_unusable_files(load, content, said):
    assert said in refusal(load, content)


def test_a_target_is_not_needed(load):
    assert "leave out --target: a LIBSVM line begins with its label" in refusal(load, "1 1:1\n2 1:2\n", target=0)


def test_one_large_index_cannot_ask_for_all_memory(load):
    message = refusal(load, "1 1:1\n2 2000000000:1\n", available=lambda: 10**9)
    assert "too large for memory: about 4,000,000,000 cells" in message


def test_a_large_file_is_refused_while_it_is_read(load, monkeypatch):
    monkeypatch.setattr("compare_ag.problem.files_libsvm.FIELDS_AT_A_TIME", 200)  # labels count too
    message = refusal(load, "1 1:1\n" * 1000 + "1 broken", available=lambda: 10_000)
    assert "too large for memory: about 100 cells" in message


@settings(max_examples=50, deadline=None)
@given(
    X=numpy_strategies.arrays(
        float,
        st.tuples(st.integers(2, 6), st.integers(1, 5)),
        elements=st.one_of(st.just(0.0), st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_what_is_written_is_read(tmp_path_factory, X):
    X[0, -1] = 1.0  # the last column must show up in the file
    path = tmp_path_factory.mktemp("libsvm") / "data.svm"
    with path.open("w") as file:
        for number, row in enumerate(X.tolist()):
            entries = " ".join(f"{index}:{value!r}" for index, value in enumerate(row, 1) if value)
            file.write(f"{number % 2} {entries}\n")
    data = load_file(path)
    assert np.array_equal(data.X, X)
    assert data.y.tolist() == [number % 2 for number in range(len(X))]


@pytest.mark.parametrize("at_a_time", [1, 7, 1 << 15])
@pytest.mark.parametrize("form", ["{!r}", "{:.17g}", "{:e}", "{:+.25f}"])
def test_the_numbers_are_those_of_float_to_the_bit(load, monkeypatch, form, at_a_time):
    monkeypatch.setattr("compare_ag.problem.files_libsvm.FIELDS_AT_A_TIME", at_a_time)
    rng = np.random.default_rng([at_a_time, len(form)])
    bits = rng.integers(0, 2**64, (60, 6), dtype=np.uint64).view(np.float64)
    X = np.where(np.isfinite(bits) & (rng.random((60, 6)) < 0.7), bits, 0.0)
    X[-1, -1] = 1.0
    lines, want = [], np.zeros(X.shape)
    for number, row in enumerate(X.tolist()):
        texts = {index: form.format(value) for index, value in enumerate(row) if value}
        want[number, [*texts]] = [*map(float, texts.values())]
        note = ["", " # 1:2 a note", "\n\n"][number % 3]
        lines.append(
            " ".join([f"{number % 2}", "qid:1", *(f"{index + 1}:{text}" for index, text in texts.items())]) + note
        )
    assert load("\n".join(lines)).X.tobytes() == want.tobytes()


def test_entries_are_read_many_at_a_time(load, monkeypatch):
    read_one_by_one = []
    monkeypatch.setattr("compare_ag.problem.files_libsvm.parse_number", lambda text: read_one_by_one.append(text))
    assert load("1 1:5 3:-1e3 # note\n0 qid:3 2:7\n1\n" * 1000).X.shape == (3000, 3)
    assert not read_one_by_one


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1 2:x", "1 1:1:1", "2:3"], "line 2: the value of feature 2 is 'x'"),
        (["1 2:3 1:4", "1:5"], "line 2: feature index 1 after 2"),
        (["1:5", "1 2:nan"], "line 2: the line begins with '1:5'"),
        (["1:5 2:x"], "line 2: the line begins with '1:5'"),
        (["1 2:x", "2 1:1", "3 1:1", "4 1:1", "5 1:1", "6 1:1"], "line 2: the value of feature 2 is 'x'"),
        (["1 2:3", "2 1:1", "3 1:1", "4 1:1", "5 1:1", "6 2:x"], "more than two classes: '0', '1', '2', '3', '4', …"),
    ],
)
def test_of_several_faults_the_first_in_the_file_is_named(load, lines, said):
    assert said in refusal(load, "\n".join(["0 1:1", *lines]))
