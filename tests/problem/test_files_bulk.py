"""What is read in bulk: the same numbers as float() and pandas to the bit, and the same words as row by row."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import warnings

import numpy as np
import pandas
import pytest

from compare_ag.problem import ProblemError, load_file
from compare_ag.problem.files_csv import SNIFFED_LINES, _Reader

FORMATS = ("{!r}", "{:.3f}", "{:.17g}", "{:e}", "{:g}", "{:.0f}", "{:+.25f}")
SEPARATORS = (",", ";", "\t", "|", " ")


@pytest.fixture
def count_blocks(monkeypatch):
    """Make blocks small; return the list of what each was read by."""
    monkeypatch.setattr("compare_ag.problem.files_csv.BLOCK_CELLS", 1200)
    blocks = []
    plain = _Reader.read_plain

    def read_plain(self, block):
        found = plain(self, block)
        blocks.append("rows" if found is None else "plain")
        return found

    monkeypatch.setattr(_Reader, "read_plain", read_plain)
    return blocks


def numbers(rng, shape):
    """Doubles of every size, subnormal ones, halves of the last bit, and whole numbers."""
    bits = rng.integers(0, 2**64, shape, dtype=np.uint64).view(np.float64)
    any_size = np.where(np.isfinite(bits), bits, 0.1)
    usual = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)
    return np.where(rng.random(shape) < 0.5, any_size, usual)


def write(path, rng):
    """A file of random layout; return what pandas needs to read it, and what load_file does."""
    n, d = int(rng.integers(2, 400)), int(rng.integers(1, 6))
    separator = SEPARATORS[rng.integers(len(SEPARATORS))]
    forms = [FORMATS[i] for i in rng.integers(0, len(FORMATS), d)]
    X = numbers(rng, (n, d))
    labels = [("yes", "no"), ("1", "0"), ("-1", "+1"), ("a b", 'say "x"')][rng.integers(4)]
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    target = int(rng.integers(d + 1))
    header = bool(rng.integers(2))
    end = ["\n", "\r\n"][rng.integers(2)]
    quote = rng.random() < 0.3 or separator == " "
    lines = []
    for row, label in zip(X.tolist(), y, strict=True):
        cells = [form.format(value) for form, value in zip(forms, row, strict=True)]
        text = labels[label]
        text = '"' + text.replace('"', '""') + '"' if quote or '"' in text else text
        lines.append(separator.join([*cells[:target], text, *cells[target:]]))
    if header:
        lines.insert(0, separator.join(f"c{column}" for column in range(d + 1)))
    path.write_text(end.join(lines) + end, newline="")
    names = [f"c{column}" for column in range(d + 1)]
    types = {name: str if column == target else "float64" for column, name in enumerate(names)}
    return {"sep": separator, "header": 0 if header else None, "names": names, "dtype": types}, target


@pytest.mark.few(100)
@pytest.mark.parametrize("seed", range(500))
def test_the_numbers_are_those_of_pandas_to_the_bit(tmp_path, seed, count_blocks):
    path = tmp_path / "data.csv"
    options, target = write(path, np.random.default_rng([seed, 21]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer releases are always exact, and warn of being asked to be
        frame = pandas.read_csv(path, float_precision="round_trip", keep_default_na=False, **options)
    label = frame.columns[target]
    there = frame.drop(columns=label).to_numpy(dtype=np.float64)
    try:
        data = load_file(path, target)
    except ProblemError:  # it asks, and does not guess
        with pytest.raises(ProblemError, match="may be a header of numbers"):
            load_file(path, target)
        data = load_file(path, target, header=options["header"] is not None)
    assert data.X.tobytes() == np.ascontiguousarray(there).tobytes()
    assert [data.label_names[int(number)] for number in data.y] == frame[label].str.strip().tolist()


def test_bulk_is_really_used(tmp_path, count_blocks):
    path = tmp_path / "data.csv"
    X = np.random.default_rng(0).normal(size=(2000, 3))
    rows = [f'{a!r},"{"yes" if i % 2 else "no"}",{b!r},{c!r}' for i, (a, b, c) in enumerate(X.tolist())]
    path.write_text("a,label,b,c\n" + "\n".join(rows))
    assert np.array_equal(load_file(path, "label").X, X)
    assert count_blocks[0] == "rows"
    assert set(count_blocks[1:]) == {"plain"}
    assert len(count_blocks) > 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,maybe", "line 1503, column 'label'"),
        ("1,,yes", "line 1503, column 'b': is empty: a missing value"),
        ("1,nan,yes", "line 1503, column 'b': is 'nan', which is not finite"),
        ("1,1e999,yes", "line 1503, column 'b': is 'inf', which is not finite"),
        ("1,2", "line 1503: 2 cells where the first line has 3"),
        ("1,2,yes,3", "line 1503: 4 cells where the first line has 3"),
        ("1_0,2,yes", "line 1503, column 'a': is '1_0'"),
        ("1,0x10,yes", "line 1503, column 'b': is '0x10'"),
        ("١,2,yes", "line 1503, column 'a': is '١'"),
        ('"1"2,2,yes', "line 1503: wrong quoting"),
        ('1,2,"yes', "line 1503: a quote is opened here and never closed"),
        ("1,2,", "line 1503, column 'label': the label is empty"),
        ('"2,5",2,yes', "line 1503, column 'a': is '2,5', which is not a number: use the decimal point"),
    ],
)
def test_what_is_wrong_in_bulk_is_located_as_row_by_row(tmp_path, count_blocks, line, message):
    path = tmp_path / "data.csv"
    good = [f"{i},{i / 7!r},{'yes' if i % 3 else 'no'}" for i in range(2000)]
    path.write_text("a,b,label\n\n" + "\n".join([*good[:1500], line, *good[1500:]]))
    with pytest.raises(ProblemError) as caught:
        load_file(path, "label")
    assert message in str(caught.value)
    assert "plain" in count_blocks


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        ' 1 ,2,"yes"',
        '1,2,"yes"\n\n',
        "1,2,yes,",
        '"1","2","yes"',
        "+1,2.,yes",
        "1E0,.2e1,yes",
    ],
)
def test_odd_lines_among_plain_ones_are_read(tmp_path, count_blocks, line):
    path = tmp_path / "data.csv"
    good = [f"{i},{i / 7!r},{'yes' if i % 3 else 'no'}" for i in range(2000)]
    path.write_text("a,b,label\n" + "\n".join([*good[:1500], line, *good[1500:]]))
    data = load_file(path, "label")
    want = [[i, i / 7] for i in range(2000)]
    if line.strip():
        want.insert(1500, [1, 2])
    assert data.X.tolist() == want


def test_a_quoted_label_may_reach_over_blocks(tmp_path, count_blocks):
    path = tmp_path / "data.csv"
    long = '"yes' + "\n" * 1000 + 'or so"'
    good = [f"{i},{i / 7!r},{'no' if i % 3 else long}" for i in range(1000)]
    path.write_text("a,b,label\n" + "\n".join(good))
    data = load_file(path, "label")
    assert data.X.tolist() == [[i, i / 7] for i in range(1000)]
    assert data.y.tolist() == [float(i % 3 == 0) for i in range(1000)]


def test_lines_are_counted_where_a_quoted_label_reaches_over_blocks(tmp_path, count_blocks):
    path = tmp_path / "data.csv"
    rows = [f"{i},{i / 7!r},{'no' if i % 3 else 'yes'}" for i in range(2000)]
    rows[499] = '1,2,"no' + "\n" * 1000 + 'yes"'
    rows[1500] = "1,2,"
    path.write_text("a,b,label\n" + "\n".join(rows))
    with pytest.raises(ProblemError, match="line 2502, column 'label': the label is empty"):
        load_file(path, "label")


@pytest.mark.parametrize("line", ["1,2\n", "1,2,1,3\n"])
def test_rows_of_another_length_from_a_block_on(tmp_path, line):
    path = tmp_path / "data.csv"
    path.write_text("1,2,1\n3,4,0\n" * (SNIFFED_LINES // 2) + line * 200)
    with pytest.raises(ProblemError, match=f"line 101: {line.count(',') + 1} cells where the first line has 3"):
        load_file(path, 2)


def test_lines_of_more_cells_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("compare_ag.problem.files_csv.BLOCK_CELLS", 1)
    path = tmp_path / "data.csv"
    path.write_text("".join(f"{i},{i / 7!r},{i % 2}\n" for i in range(300)))
    assert load_file(path, -1).X.tolist() == [[i, i / 7] for i in range(300)]


def test_a_packed_file_that_grows_beyond_memory_is_refused_on_the_way(tmp_path, count_blocks):
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"1,2,a\n3,4,b\n" * 200_000))
    assert path.stat().st_size < 20_000
    with pytest.raises(ProblemError, match="too large for memory"):
        load_file(path, -1, available=lambda: 1_000_000)
    assert len(count_blocks) < 20


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("compare_ag.problem.files.LONGEST_LINE", 1000)
    path = tmp_path / "data.csv"
    path.write_text("1,2,a\n" + "3," * 1000)
    with pytest.raises(ProblemError, match="line 2: no line end in 1,000 characters"):
        load_file(path, -1)


PEAK = """
import sys
import numpy as np
from compare_ag.problem import load_file, make_problem
def peak():
    with open("/proc/self/status") as status:  # ru_maxrss would be that of the parent, if it is larger
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
np.linalg.qr(np.eye(3)), np.linalg.eigvalsh(np.eye(3))
before = peak()
data = load_file(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None, standardize=True)
make_problem(data)
print((peak() - before) / data.X.nbytes)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/status")
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_reading_takes_at_most_three_times_the_array(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    X = np.random.default_rng(0).integers(0, 1000, (300_000, 20)) / 8
    y = np.arange(len(X)) % 2
    if kind == "npz":
        np.savez(path, X=X, y=y)
    else:
        text = io.StringIO()
        np.savetxt(text, np.c_[X, y], fmt="%g", delimiter=",")
        path.write_text(text.getvalue())
    command = [sys.executable, "-c", PEAK, str(path), *(["-1"] if kind == "csv" else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        float(done.stdout) < 3 + 1.5
    )  # the blocks that are worked on at a time count more where X is as small as here
