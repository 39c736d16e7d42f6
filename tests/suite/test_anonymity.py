"""Nothing that a run keeps or any form of it shows names the machine or its owner, whatever a plugin says."""

from __future__ import annotations

import io
import json
import platform
import re
from pathlib import Path

import pytest
from rich.console import Console

import compare_ag
from compare_ag import text as texts
from compare_ag.compare import compare_runs
from compare_ag.compare.changes import document
from compare_ag.records import document as run_document
from compare_ag.report import comparison as changes
from compare_ag.report.figures import figures
from compare_ag.report.markdown import comparison_markdown, run_markdown
from compare_ag.report.screen import print_screen
from compare_ag.report.spreadsheet import tables
from compare_ag.report.terminal import print_run
from compare_ag.report.whole import run_json
from compare_ag.suite import anonymity
from compare_ag.suite.anonymity import anonymous_text
from compare_ag.text import without_paths

HOST, USER = "planted-laptop", "plantagenet"
HOMES = "/" + "home"  # put together, for a test forbids such paths in the tree
HOME = f"{HOMES}/{USER}"


@pytest.fixture
def planted(monkeypatch):
    """A machine and a user with names that one finds again."""
    monkeypatch.setattr(platform, "node", lambda: f"{HOST}.example.net")
    monkeypatch.setenv("HOME", HOME)
    for variable in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, USER)
    anonymity._names.cache_clear()
    yield
    anonymity._names.cache_clear()


LEAK = f"cannot open '{HOME}/my secret/data.csv' or /srv/{HOST}/x.bin for {USER} on {HOST.upper()}, {HOST}.example.net"


@pytest.fixture
def run(planted, install_plugin, good_plugin, tmp_path, monkeypatch):
    """Two backends, of which one says all that it knows about its owner while it trains."""
    teller = good_plugin.replace(
        "    def backward(self, tape):", f"    def backward(self, tape):\n        raise OSError({LEAK!r})"
    )
    install_plugin("teller", teller)
    install_plugin("sound", good_plugin)
    monkeypatch.chdir(tmp_path)
    return compare_ag.run(["teller", "sound"], "synthetic:n=20,d=2", steps=20, timing=False, output="run")


def everything(run) -> dict[str, str]:
    """All forms of the run, by name, and every file of its directory but the logs."""
    file = io.StringIO()
    print_run(run, Console(file=file, width=200))
    print_screen(run, Console(file=file, width=200))
    comparison = compare_runs(run, run)
    texts = Console(file=io.StringIO(), width=200, record=True)
    for part in changes.sections(comparison):
        texts.print(part)
    forms = {
        "terminal": file.getvalue(),
        "show --json": json.dumps(run_document(run)),
        "md": run_markdown(run),
        "json": run_json(run),
        "compare": texts.export_text(),
        "compare --md": comparison_markdown(comparison),
        "compare --json": json.dumps(document(comparison)),
        **tables(run),
        **{name: data.decode() for name, data in figures(run, "svg").items()},
    }
    for path in run.path.rglob("*"):
        if path.is_file() and path.relative_to(run.path).parts[0] != "logs":
            forms[str(path.name)] = path.read_bytes().decode("latin-1")
    return forms


def test_no_form_of_a_run_names_host_user_or_a_place(run, tmp_path):
    assert run["teller"].reason.endswith("OSError: cannot open '…/data.csv' or …/x.bin for [user] on [host], [host]"), (
        run["teller"].reason
    )
    found = everything(run)
    assert len(found) > 15
    for form, text in found.items():
        for word in (HOST, USER, "secret", str(tmp_path), platform.node().partition(".")[0]):
            assert word.lower() not in text.lower(), (form, word)
    assert any(LEAK in log.read_text() for log in (run.path / "logs").iterdir())


def test_an_older_runs_reasons_lose_their_folders_when_it_is_exported(run):
    told = compare_ag.records.replace(run["teller"], reason="cannot read /srv/lab/secret/x.csv")
    old = compare_ag.records.Run(run.path, run.manifest, {**run.records, "teller": told}, run._cache)
    for text in (run_markdown(old), run_json(old), *tables(old).values()):
        assert "secret" not in text
    assert "…/x.csv" in run_markdown(old)


def test_common_names_are_left_in_sentences(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "vm")
    monkeypatch.setenv("LOGNAME", "root")
    anonymity._names.cache_clear()
    assert anonymous_text("the root of the vm") == "the root of the vm"
    anonymity._names.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"[Errno 2] No such file or directory: '{HOMES}/alice/data.csv'", "[Errno 2] No such file or directory: '…/data.csv'"),
        ('File "/srv/my code/x.py", line 3', 'File "…/x.py", line 3'),
        (f"cannot write {HOMES}/alice", "cannot write ~"),
        ("see (/opt/lab/y.py:3)", "see (…/y.py:3)"),
        ("path=/opt/lab/y", "path=…/y"),
        (r"C:\Users\alice\data\x.csv is gone", "…/x.csv is gone"),
        (r"\\server\share\x.csv", "…/x.csv"),
        ("file:///opt/lab/b.txt", "…/b.txt"),
        ("~/lab/x and ~alice/x", "…/x and …/x"),
        ("/tmp is full", "…/tmp is full"),
        ("https://example.org/a/b and a/b, and/or 3 / 4, m/s", "https://example.org/a/b and a/b, and/or 3 / 4, m/s"),
        ("</script><b>", "</script><b>"),
        ("//srv/alice/x.csv", "…/x.csv"),
        ("gcc -I/opt/alice/inc -isystem/opt/alice/sys", "gcc -I…/inc -isystem…/sys"),
        ("</data/alice/x>", "<…/x>"),
        ("/@work/alice/x and /-w/alice/y", "…/x and …/y"),
        ("/tmp/a,b/alice/x, /tmp/alice/y,/tmp/alice/z", "…/x, …/y,…/z"),
        (f"{HOMES}/Alice Doe/lab/x.csv", "…/x.csv"),
        ("0.5 +/-3, // a comment, a//b", "0.5 +/-3, // a comment, a//b"),
    ],
)  # fmt: skip
def test_paths_lose_their_folders_and_nothing_else_does(text, shown):
    assert without_paths(text) == shown
    assert without_paths(shown) == shown
    assert not re.search(r"alice|lab\b.*/", without_paths(text))


def test_a_home_folder_with_blanks_is_known_from_the_system(monkeypatch):
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("/export/alice van dyke (lab)"))
    texts._homes.cache_clear()
    try:
        assert without_paths("cannot read /export/alice van dyke (lab)/my/x.csv") == "cannot read …/x.csv"
    finally:
        texts._homes.cache_clear()
