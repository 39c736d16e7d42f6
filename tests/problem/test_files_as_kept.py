"""Files as people keep them, one row each: how it is read, or the one message. Small, and of many kinds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from compare_ag.problem import ProblemError, load_file

PLAIN = ([1.5, 2.0], [0.3, 1.0], [2.2, 3.0], [0.1, 0.5])
ROWS = "1.5,2,1\n0.3,1,0\n2.2,3,1\n0.1,0.5,0\n"
HEADED = "a,b,label\n" + ROWS
SVM = "+1 1:1.5 2:2\n-1 1:0.3 2:1\n+1 1:2.2 2:3\n-1 1:0.1 2:0.5\n"


class Read(NamedTuple):
    """A file that is read."""

    name: str
    content: str | bytes
    options: Mapping[str, Any] = MappingProxyType({})
    X: Sequence[list[float]] = PLAIN
    y: Sequence[int] = (1, 0, 1, 0)
    labels: tuple[str, str] = ("0", "1")
    warning: str = ""
    detail: str = ""


class Refused(NamedTuple):
    """A file that is not read, and what is said."""

    name: str
    content: str | bytes
    options: dict[str, Any]
    message: str


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def labelled(first: str, second: str, sep: str = ",") -> str:
    return HEADED.replace(",1\n", f",{first}\n").replace(",0\n", f",{second}\n").replace(",", sep)


X = np.array(PLAIN)
LAST, NAMED = {"target": -1}, {"target": "label"}
INDEXED = "".join(f"{number},{line}\n" for number, line in enumerate(ROWS.splitlines()))

FILES: dict[str, Read | Refused] = {
    # --- labels
    "plus and minus": Read("a.csv", labelled("+", "-"), NAMED, labels=("-", "+")),
    "minus and a word": Read(
        "a.csv", labelled("yes", "-"), NAMED, labels=("-", "yes"), warning="the label '-' is a class"
    ),
    "NA and a word": Read(
        "a.csv", labelled("ok", "NA"), NAMED, labels=("NA", "ok"), warning="the label 'NA' is a class"
    ),
    "None and a word": Read("a.csv", labelled("ok", "None"), NAMED, labels=("None", "ok"), warning="'None'"),
    "nan and a number": Read("a.csv", labelled("nan", "1"), NAMED, labels=("1", "nan"), warning="'nan'"),
    "a question mark": Read("a.csv", labelled("yes", "?"), NAMED, labels=("?", "yes"), warning="'?'"),
    "two labels and NA": Refused(
        "a.csv",
        HEADED + "1,2,NA\n",
        NAMED,
        "('NA' first in a.csv, line 6, column 'label'); if 'NA' means a missing label",
    ),
    "an empty label": Refused("a.csv", HEADED + "1,2,\n", NAMED, "line 6, column 'label': the label is empty"),
    "numbers one beyond 2^53": Read(
        "a.csv",
        labelled("9007199254740993", "9007199254740992"),
        NAMED,
        labels=("9007199254740992", "9007199254740993"),
    ),
    "1 and 1.0 are one class": Read("a.csv", HEADED.replace("3,1\n", "3,1.0\n"), NAMED),
    "text labels sort as numbers in npz": Read(
        "a.npz", npz(X=X, y=np.array(["10", "9", "10", "9"])), labels=("9", "10")
    ),
    "signs in npz": Read("a.npz", npz(X=X, y=np.array(["+", "-", "+", "-"])), labels=("-", "+")),
    "signed ones in npz": Read("a.npz", npz(X=X, y=np.array(["+1", "-1", "+1.0", "-1"])), labels=("-1", "+1")),
    "nan as text in npz": Read(
        "a.npz", npz(X=X, y=np.array(["nan", "1", "nan", "1"])), labels=("1", "nan"), warning="'nan'"
    ),
    "nan as a number in npz": Refused("a.npz", npz(X=X, y=[1, np.nan, 0, 1]), {}, "y: row 1 (counted from 0) is nan"),
    "an empty text in npz": Refused(
        "a.npz", npz(X=X, y=["a", "", "a", "b"]), {}, "y, row 1 (counted from 0): the label is empty"
    ),
    "LIBSVM +1 and -1": Read("a.svm", SVM, labels=("-1", "+1")),
    "LIBSVM + and -": Read("a.svm", SVM.replace("+1 ", "+ ").replace("-1 ", "- "), labels=("-", "+")),
    "LIBSVM NA": Refused("a.svm", SVM + "NA 1:3\n", {}, "'NA' first in a.svm, line 5"),
    # --- missing cells
    "an empty cell": Refused("a.csv", HEADED + "1,,1\n", NAMED, "line 6, column 'b': is empty: a missing value"),
    "NA in a feature": Refused("a.csv", HEADED + "NA,2,1\n", NAMED, "line 6, column 'a': is 'NA': a missing value"),
    "nan in a feature": Refused(
        "a.csv", HEADED + "1,nan,1\n", NAMED, "line 6, column 'b': is 'nan', which is not finite"
    ),
    "a dash in a feature": Refused("a.csv", HEADED + "-,2,1\n", NAMED, "line 6, column 'a': is '-': a missing value"),
    # --- header
    "no header": Read("a.csv", ROWS, LAST, detail="no header line"),
    "0, 1, 2 above decimals": Read(
        "a.csv", "0,1,2\n" + ROWS, LAST, warning="('0', '1', '2') was taken for a header of numbers"
    ),
    "0, 1, 2 above whole numbers": Refused(
        "a.csv",
        "0,1,2\n5,1,1\n2,0,0\n3,1,5\n",
        {"target": 1},
        "may be a header of numbers or an example: say which with --header yes or --header no",
    ),
    "0, 1, 2 above text labels": Read(
        "a.csv",
        "0,1,2\n" + ROWS.replace(",1\n", ",yes\n").replace(",0\n", ",no\n"),
        LAST,
        labels=("no", "yes"),
        warning="was taken for a header",
    ),
    "0, 1, 2 with an index": Read(
        "a.csv", ",0,1,2\n" + INDEXED, LAST | {"drop": "-4"}, warning="was taken for a header"
    ),
    "whole numbers above decimals": Refused(
        "a.csv", "7,9,1\n" + ROWS.replace(",2,", ",2.5,"), LAST, "may be a header of numbers"
    ),
    "a label of another kind": Read(
        "a.csv", "5,7,label\n" + ROWS, LAST, warning="('5', '7', 'label') was taken for a header"
    ),
    "--header yes": Read(
        "a.csv", "7,9,5\n" + ROWS, LAST | {"header": True}, detail="a header line, labels in column '5'"
    ),
    "--header no": Read("a.csv", "0,1,0\n" + ROWS, LAST | {"header": False}, [[0, 1], *PLAIN], [0, 1, 0, 1, 0]),
    "--header yes without one": Read("a.csv", ROWS, LAST | {"header": True}, PLAIN[1:], [0, 1, 0]),
    "--header no with one": Refused(
        "a.csv", HEADED, LAST | {"header": False}, "line 1, column 0 (counted from 0): is 'a', which is not a number"
    ),
    "a target that only a header can name": Read(
        "a.csv", "7,9,5\n" + ROWS, {"target": "5"}, warning="('7', '9', '5') was taken for a header"
    ),
    # --- delimiters
    "semicolons": Read("a.csv", HEADED.replace(",", ";"), NAMED, detail="delimiter semicolon"),
    "tabs": Read("a.tsv", HEADED.replace(",", "\t"), NAMED, detail="delimiter tab"),
    "pipes": Read("a.txt", HEADED.replace(",", "|"), NAMED, detail="delimiter pipe"),
    "pipes in a frame": Read("a.txt", HEADED.replace(",", " | "), NAMED, detail="delimiter pipe"),
    "blanks": Read("a.txt", ROWS.replace(",", " "), LAST, detail="delimiter blanks"),
    "columns of blanks": Read(
        "a.dat", "  " + HEADED.replace(",", "    ").replace("\n", "  \n  "), NAMED, detail="delimiter blanks"
    ),
    "blanks and tabs": Read("a.dat", ROWS.replace(",2,", " \t2 ").replace(",", " "), LAST, detail="delimiter blanks"),
    "--delimiter colon": Read("a.txt", HEADED.replace(",", ":"), NAMED | {"delimiter": ":"}, detail="delimiter ':'"),
    "--delimiter tab": Read("a.txt", HEADED.replace(",", "\t"), NAMED | {"delimiter": "tab"}),
    "--delimiter \\t": Read("a.txt", HEADED.replace(",", "\t"), NAMED | {"delimiter": "\\t"}),
    "a quote inside a cell, and a blank in each line": Read(
        "a.csv",
        'kind;"5""";long side\nno 1;1.5;2\nno\t2;0.5;3\n',
        {"target": 0},
        [[1.5, 2], [0.5, 3]],
        [1, 0],
        labels=("no\\t2", "no 1"),
        detail="delimiter semicolon",
    ),
    "a wrong --delimiter": Refused("a.csv", HEADED, LAST | {"delimiter": ";"}, "one column only"),
    "an impossible --delimiter": Refused(
        "a.csv", HEADED, LAST | {"delimiter": "."}, "give one of comma, semicolon, tab, pipe, blanks, or one character"
    ),
    "an unknown delimiter": Refused("a.txt", HEADED.replace(",", "~"), LAST, "--delimiter"),
    "trailing commas": Read("a.csv", HEADED.replace("\n", ",\n"), NAMED, warning="end in a delimiter"),
    "trailing commas below the header": Read(
        "a.csv", "a,b,label\n" + ROWS.replace("\n", ",\n"), LAST, warning="end in a delimiter"
    ),
    "trailing commas without a header": Read("a.csv", ROWS.replace("\n", ",\n"), LAST, warning="end in a delimiter"),
    "many trailing semicolons": Read(
        "a.csv", HEADED.replace(",", ";").replace("\n", ";;;\n"), NAMED, warning="end in a delimiter"
    ),
    "a nameless last column": Read("a.csv", HEADED.replace("label", ""), LAST),
    # --- decimal commas and thousands
    "decimal commas": Read(
        "a.csv", "a;b;label\n1,5;2;1\n0,3;1;0\n2,2;3;1\n0,1;0,5;0\n", NAMED, detail="delimiter semicolon, decimal comma"
    ),
    "decimal commas and tabs": Read(
        "a.tsv", HEADED.replace(",", "\t").replace(".", ","), NAMED, detail="delimiter tab, decimal comma"
    ),
    "decimal commas and blanks": Read(
        "a.txt", ROWS.replace(",", " ").replace(".", ","), LAST, detail="delimiter blanks, decimal comma"
    ),
    "decimal commas in quotes": Read(
        "a.csv", 'a,b,label\n"1,5",2,1\n"0,3",1,0\n"2,2",3,1\n"0,1","0,5",0\n', NAMED, detail="decimal comma"
    ),
    "decimal commas and a point": Refused(
        "a.csv",
        "a;b;label\n1,5;2;1\n2,5;2.5;0\n",
        NAMED,
        "line 2, column 'a': is '1,5', which is not a number: use the decimal point",
    ),
    "decimal commas, later a point": Refused(
        "a.csv",
        "a;b;label\n" + "1,5;2;1\n0,5;1;0\n" * 60 + "1,5;2.5;0\n",
        NAMED,
        "line 122, column 'b': '2.5' has a decimal point",
    ),
    "three decimals among others": Read("a.csv", "a;label\n1,234;1\n0,5;0\n", NAMED, [[1.234], [0.5]], [1, 0]),
    "thousands in quotes": Refused(
        "a.csv",
        'price,area,label\n"1,234",2,1\n900,1,0\n',
        NAMED,
        "line 2, column 'price': is '1,234': a thousands separator",
    ),
    "thousands in some rows": Refused(
        "a.csv",
        "price,label\n" + "900,1\n800,0\n" * 80 + '"1,234",1\n',
        NAMED,
        "line 162, column 'price': is '1,234': a thousands separator",
    ),
    "thousands without quotes": Refused(
        "a.csv",
        HEADED + "1,234,2,1\n",
        NAMED,
        "line 6: 4 cells where the first line has 3; is '1,234' a number with a thousands separator?",
    ),
    "thousands beside decimal commas": Refused(
        "a.csv", "p;q;label\n900;0,5;1\n1,234;1,5;0\n", NAMED, "line 3, column 'p': is '1,234': a thousands separator"
    ),
    "thousands and semicolons": Refused(
        "a.csv",
        "p;label\n1,234;1\n2,500;0\n",
        NAMED,
        "line 2, column 'p': is '1,234': a thousands separator or a decimal comma",
    ),
    "thousands as points": Refused(
        "a.csv", "p;label\n1.234.567;1\n2;0\n", NAMED, "is '1.234.567': a thousands separator"
    ),
    "thousands and decimals": Refused(
        "a.csv", "p;label\n1.234,5;1\n2;0\n", NAMED, "is '1.234,5': a thousands separator"
    ),
    "thousands as blanks": Refused(
        "a.csv", "p;q;label\n1 234;1;a\n2 500;2;b\n", NAMED, "is '1 234': a thousands separator"
    ),
    "thousands as narrow blanks": Refused(
        "a.csv", "p,q,label\n1\u202f234,1,a\n2,2,b\n", NAMED, "is '1\\u202f234': a thousands separator"
    ),
    "thousands as apostrophes": Refused("a.csv", "p,q,label\n1'234,1,a\n2,2,b\n", NAMED, "a thousands separator"),
    "thousands in a first line without header": Refused(
        "a.csv", "1,234;1;a\n2,500;2;b\n", LAST, "line 1, column 0 (counted from 0): is '1,234': a thousands"
    ),
    # --- LIBSVM and packed files
    "LIBSVM called txt": Read("a9a.txt", SVM, labels=("-1", "+1"), detail="LIBSVM, 8 entries"),
    "LIBSVM called csv": Read("a.csv", "# made by hand\n\n" + SVM, labels=("-1", "+1"), detail="LIBSVM"),
    "LIBSVM without an ending": Read("a9a", SVM.replace("\n", " # good\n"), labels=("-1", "+1")),
    "LIBSVM with a target": Refused("a.txt", SVM, LAST, "leave out --target: a LIBSVM line begins with its label"),
    "LIBSVM in gzip": Read("a9a.gz", gzip.compress(SVM.encode()), labels=("-1", "+1")),
    "CSV in gzip": Read("a.csv.gz", gzip.compress(HEADED.encode()), NAMED),
    "CSV in bzip2": Read("a.csv.bz2", bz2.compress(HEADED.encode()), NAMED),
    "CSV in xz": Read("a.csv.xz", lzma.compress(HEADED.encode()), NAMED),
    "gzip called csv": Read("a.csv", gzip.compress(HEADED.encode()), NAMED),
    "torn gzip": Refused(
        "a.csv.gz", gzip.compress(HEADED.encode() * 9)[:-9], NAMED, "cannot be read: Compressed file ended"
    ),
    "torn bzip2": Refused("a.bz2", bz2.compress(HEADED.encode())[:-9], NAMED, "cannot be read"),
    "damaged xz": Refused("a.xz", lzma.compress(HEADED.encode())[:-30] + bytes(30), NAMED, "cannot be read"),
    "bad cell in gzip": Refused(
        "a.gz", gzip.compress((HEADED + "x,1,1\n").encode()), NAMED, "line 6, column 'a': is 'x'"
    ),
    # --- columns
    "a nameless index": Read(
        "a.csv",
        ",a,b,label\n" + INDEXED,
        NAMED,
        [[i, *row] for i, row in enumerate(PLAIN)],
        warning="column 0 (counted from 0) is called '', as a saved index is; it is trained on as a feature: --drop 0",
    ),
    "an index saved twice": Read("a.csv", "Unnamed: 0,a,b,label\n" + INDEXED, NAMED | {"features": "a,b"}),
    "an index beside numbers as names": Read(
        "a.csv", ",0,1,2\n" + INDEXED, LAST, [[i, *row] for i, row in enumerate(PLAIN)], warning="--drop -4"
    ),
    "the index dropped": Read("a.csv", ",a,b,label\n" + INDEXED, NAMED | {"drop": "0"}),
    "text in a dropped column": Read(
        "a.csv", "who,a,b,label\n" + "".join(f"w{line}\n" for line in INDEXED.splitlines()), NAMED | {"drop": ["who"]}
    ),
    "text in a dropped column, no header": Read(
        "a.csv", "".join(f"w{line}\n" for line in INDEXED.splitlines()), LAST | {"drop": "0"}, detail="no header line"
    ),
    "features by number": Read("a.csv", HEADED, NAMED | {"features": [1]}, [[row[1]] for row in PLAIN]),
    "a comma in a name": Read(
        "a.csv", '"a,b",c,label\n' + ROWS, NAMED | {"features": "a,b"}, [[row[0]] for row in PLAIN]
    ),
    "an unknown feature": Refused("a.csv", HEADED, NAMED | {"features": "a,bb"}, "no column 'bb'; did you mean 'b'?"),
    "the labels as a feature": Refused("a.csv", HEADED, NAMED | {"features": "a,label"}, "'label' holds the labels"),
    "nothing left": Refused("a.csv", HEADED, NAMED | {"drop": "a,b"}, "no feature is left"),
    "npz without a column": Read("a.npz", npz(X=np.c_[np.arange(4), X], y=[1, 0, 1, 0]), {"drop": "0"}),
    "LIBSVM without an index": Read("a.svm", SVM, {"features": "2"}, [[row[1]] for row in PLAIN], labels=("-1", "+1")),
    "LIBSVM without such an index": Refused("a.svm", SVM, {"drop": "three"}, "no column 'three'"),
    "a duplicated name": Read("a.csv", HEADED.replace("a,b", "a,a"), NAMED),
    "a duplicated name to drop": Refused(
        "a.csv", HEADED.replace("a,b", "a,a"), NAMED | {"drop": "a"}, "2 columns are called 'a'"
    ),
    # --- npz and what is none
    "X_train and y_train": Refused(
        "a.npz",
        npz(X_train=X, y_train=[1, 0, 1, 0]),
        {},
        "is it 'X_train'? numpy.savez(file, X=old['X_train'], y=old['y_train'])",
    ),
    "data and target": Refused(
        "a.npz", npz(data=X, target=[1, 0, 1, 0]), {}, "is it 'data'? numpy.savez(file, X=old['data'], y=old['target'])"
    ),
    "labels beside X": Refused(
        "a.npz", npz(X=X, labels=[1, 0, 1, 0]), {}, "is it 'labels'? numpy.savez(file, X=old['X'], y=old['labels'])"
    ),
    "integers beyond 2^53": Read(
        "a.npz",
        npz(X=np.array([[2**53 + 1], [2], [3], [4]]), y=[1, 0, 1, 0]),
        {},
        [[2.0**53], [2], [3], [4]],
        warning="the first is 9007199254740993 in row 0, column 0",
    ),
    "integers up to 2^53": Read(
        "a.npz",
        npz(X=np.array([[2**53], [-(2**53)], [3], [4]]), y=[1, 0, 1, 0]),
        {},
        [[2.0**53], [-(2.0**53)], [3], [4]],
    ),
    "npz called data": Read("a.data", npz(X=X, y=[1, 0, 1, 0])),
    "one array": Refused(
        "a.npy", npz(X=X)[:0] + b"\x93NUMPY\x01\x00", {}, "one array of NumPy; numpy.savez(file, X=X, y=y)"
    ),
    "a pickle": Refused("a.pkl", pickle.dumps(PLAIN, protocol=4), {}, "this is a pickle, which could run code"),
    "an old workbook": Refused("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", {}, "an Excel workbook; save the sheet as CSV"),
    "HDF5": Refused("a.h5", b"\x89HDF\r\n\x1a\n", {}, "HDF5; save it as"),
    "a picture": Refused("a.png", b"\x89PNG\r\n\x1a\n" + bytes(99), LAST, "not UTF-8"),
}


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


FILES["a workbook"] = Refused("a.xlsx", workbook(), {}, "this is an Excel workbook: save the sheet as CSV")


@pytest.mark.parametrize("kept", FILES.values(), ids=FILES)
def test_a_file_as_people_keep_it(tmp_path, kept):
    path = tmp_path / kept.name
    path.write_bytes(kept.content if isinstance(kept.content, bytes) else kept.content.encode())
    if isinstance(kept, Refused):
        with pytest.raises(ProblemError) as caught:
            load_file(path, **kept.options)
        assert kept.message in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 320
        return
    data = load_file(path, **kept.options)
    assert data.X.tolist() == [*kept.X]
    assert data.y.tolist() == [*kept.y]
    assert data.label_names == kept.labels
    assert kept.detail in data.description
    said = [warning for warning in data.warnings if "constant" not in warning and "dependent" not in warning]
    assert kept.warning in "; ".join(said)
    assert bool(said) == bool(kept.warning)


def test_there_are_at_least_sixty():
    assert len(FILES) >= 60
