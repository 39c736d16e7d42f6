"""The page as a text: all content in its order, nothing loaded, strangers' text inert, the same bytes every time."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest

from compare_ag import records
from compare_ag.report import cost_charts, tables, thinning
from compare_ag.report.glossary import entry_id
from compare_ag.report.kept import digits_kept
from compare_ag.report.page import keep_report, packing, render, write_report
from compare_ag.verify.samples import Test

VOID = {"meta", "br", "img", "link", "input", "hr", "base"}


TESTS = sorted(set(get_args(Test)) - {"protocol"})
"""all that a verdict may hold; a broken protocol has no ratio, its message tells it"""


class Parsed(HTMLParser):
    """Tags with their attributes, in order; the text of scripts and of everything else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self.open and self.open[-1] != "style":
            self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(filter(None, self.texts))

    def data(self, id):
        (found,) = [text for attributes, text in self.scripts if attributes.get("id") == id]
        return json.loads(found)


@pytest.fixture(scope="module")
def html(varied):
    return render(varied)


@pytest.fixture(scope="module")
def page(html):
    return Parsed(html)


# --- content ------------------------------------------------------------------------------------------------


def test_the_parts_come_in_the_order_that_a_reader_needs(page):
    ids = [attributes["id"] for attributes in page.all("section")]
    assert ids == [
        "verdicts-part", "losses-part", "difference-part", "weights-part", "speed-part", "accuracy-part",
        "method-part", "glossary-part", "data-part",
    ]  # fmt: skip
    plots = [attributes["id"] for attributes in page.all("div") if attributes.get("class") == "plot"]
    assert plots == [
        "plot-losses", "plot-difference", "plot-weights", "plot-weights-off", "plot-speed", "plot-ratios",
        "plot-phases", "plot-first-steps", "plot-memory", "plot-accuracy",
    ]  # fmt: skip


def test_the_answer_stands_first_with_the_noise_floor(page, varied):
    main = page.text.index("Verdict of each backend")
    answer = page.text.index("numpy, torch and autograd agree with the reference.")
    floor = page.text.index(f"Noise floor {varied.manifest.speed.noise_floor:.1%}")
    assert answer < floor < main
    assert "wrong disagrees with the reference." in page.text[:main]
    assert "broken: crashed." in page.text[:main]


def test_a_backend_that_failed_is_there_with_its_reason_its_place_and_its_log(page):
    assert page.text.count("SIGSEGV in forward, step 17") == 3  # verdicts, failures, speed
    assert "in forward at step 17, cag-broken 1.0, module broken_plugin" in page.text
    assert "logs/broken.train.stderr.txt" in page.text


@pytest.mark.parametrize("status", sorted(set(records.STATUSES) - {"ok"}))
def test_every_status_has_its_row_and_its_reason(varied, status):
    changed = records.replace(varied["torch"], status=status, reason="because of this", cost=None, memory=None)
    run = records.Run(varied.path, varied.manifest, dict(varied.records) | {"torch": changed})
    text = Parsed(render(run)).text
    assert f"torch {status}" in text
    assert "because of this" in text


def test_observed_over_tolerance_is_told_for_every_test_and_backend(page, varied):
    for record in varied.records.values():
        for test in record.verdict.tests if record.verdict else []:
            assert f"({test.judged})" in page.text
    assert "1e+09 (10)" in page.text
    assert "0.3 (10)" in page.text


@pytest.mark.parametrize("test", TESTS)
def test_a_fault_that_one_test_alone_has_found_is_told(varied, test):
    """Whichever of all tests that there are it is: none is without a column."""
    verdict = varied["torch"].verdict
    tests = [records.TestRecord(test=one, judged=10, undecided=0, ratio=0.5) for one in TESTS if one != test]
    tests.append(records.TestRecord(test=test, judged=4321, undecided=0, ratio=77.0))
    changed = records.replace(varied["torch"], verdict=records.replace(verdict, tests=tests))
    table = tables.verdicts(records.Run(varied.path, varied.manifest, {"torch": changed}))
    (column,) = [column for column in table.columns if column.head == test]
    assert column.cell(table.rows[0]) == "77 (4321)"


def test_every_head_of_a_table_leads_to_an_entry_that_is_there(page):
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [attributes["href"] for attributes in page.all("a")]
    assert len(links) > 40
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert all(link.startswith("#") for link in links)
    assert entry_id("Verdicts", "status") in ids


def test_no_id_is_there_twice(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_run_without_timing_or_reference_still_has_its_page(make_run, tmp_path):
    run = make_run({"numpy": 0.0}, steps=3, path=tmp_path / "run")
    text = Parsed(render(run)).text
    assert "No backend was timed in this run." in text
    lost = records.Run(run.path, records.replace(run.manifest, reference_sha256=None, state="partial"), run.records)
    assert "This run did not finish" in Parsed(render(lost)).text


def test_digits_kept_stand_in_a_table_and_say_what_they_are_digits_of(page, varied):
    table = tables.speed(varied)
    column = [column.head for column in table.columns].index("digits kept")
    kept = {row[0]: row[column] for row in table.texts()}
    assert kept == {
        name: "n/a" if digits_kept(varied, name) is None else f"{digits_kept(varied, name):.1f}"
        for name in varied.records
    } | {"wrong": "n/a"}  # not timed
    assert float(kept["torch"]) > 10
    assert "relative error. The reference is the exact trajectory in ball arithmetic." in page.text


def test_an_accuracy_against_a_reference_that_is_not_exact_says_so(varied):
    bounded = "a float64 trajectory whose own error is bounded"
    run = records.Run(varied.path, records.replace(varied.manifest, reference=bounded), varied.records)
    chart = cost_charts.accuracy(run)
    assert f"The reference is {bounded}." in chart.notes
    assert "exact" not in " ".join([*chart.notes, chart.alt, chart.y.title])


def test_a_run_from_pytest_benchmark_claims_nothing_that_did_not_happen(imported):
    html = render(imported)
    text = Parsed(html).text
    body = text[: text.index("The adapter that was trained, by the name")]  # what stands before the glossary
    for claim in (
        "process of its own", "imported no framework", "Weights and losses of all steps", "95 % interval.", "launches",
        "every launch", "simultaneous", "noise floor", "is inconclusive", "never", "at once",
    ):  # fmt: skip
        assert claim not in body, claim
    assert "one pytest process imported all frameworks" in body
    assert "Medians of up to 40 rounds in that process" in body
    assert "every round and their median" in body
    assert body.count("No backend is ranked") == 2  # at the chart and at the table
    rows = tables.pairs(imported).texts()
    assert [row[-1] for row in rows] == ["n/a"]
    assert [row[1] for row in rows] == ["17.7"]


def test_a_run_in_which_every_backend_failed_has_its_page(make_run, tmp_path):
    run = make_run({"a": 0.0, "b": 0.0}, statuses={"a": "crashed", "b": "timeout"}, path=tmp_path / "run")
    text = Parsed(render(run)).text
    assert "crashed for a reason" in text
    assert "timeout for a reason" in text


def test_a_backend_with_few_numbers_is_drawn_as_far_as_it_goes(make_run):
    """Non-finite courses, one launch alone, phases that do not split, no memory."""
    run = make_run({"numpy": 1e-5, "torch": 2e-5}, launches=1, statuses={"torch": "undecidable"})
    run.arrays("numpy")["losses"][50:] = np.nan
    run.arrays("torch")["losses"] = run.arrays("torch")["losses"][:40]
    cost = records.replace(run["numpy"].cost, phases=None, closure=None, gradient_ratio=None)
    changed = records.replace(run["numpy"], cost=cost, memory=None)
    run = records.Run(run.path, run.manifest, dict(run.records) | {"numpy": changed}, run._cache)
    run.__dict__["reference"] = make_run({"numpy": 1e-5}).reference
    page = Parsed(render(run))
    assert "one launch" in page.text
    assert "n/a, cannot split a step: numpy." in page.text


# --- nothing is loaded, nothing of strangers acts ----------------------------------------------------------


def test_the_policy_comes_first_and_names_the_two_scripts_by_their_hashes(html, page):
    assert html.split("<head>")[1].lstrip().startswith('<meta http-equiv="Content-Security-Policy"')
    policy = dict(part.strip().split(" ", 1) for part in page.all("meta")[0]["content"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["img-src"] == "data: blob:"
    code = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    assert len(code) == 2
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert policy["script-src"].split() == [f"'sha256-{digest}'" for digest in hashes]


def test_no_element_loads_anything_and_no_attribute_is_a_script(page):
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "action", "formaction", "background"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def shape(html: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """What the browser builds: tags and attributes, but for the labels that read strangers' names aloud."""
    return [
        (tag, tuple((key, "" if key in ("aria-label",) else value or "") for key, value in attributes.items()))
        for tag, attributes in Parsed(html).tags
    ]


@pytest.fixture(scope="module")
def small(make_run):
    return make_run({"numpy": 1e-5, "torch": 2e-5, "broken": 0.0}, steps=20, launches=3, statuses={"broken": "crashed"})


@pytest.fixture(scope="module")
def harmless(small, infect):
    return shape(render(infect(small, "harmless")))


def test_a_payload_changes_no_tag_and_no_attribute_and_starts_no_formula(small, infect, harmless, payload):
    html = render(infect(small, payload))
    assert shape(html) == harmless
    page = Parsed(html)
    for id in ("data", "arrays"):
        page.data(id)  # strict: not cut short, and JSON
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", page.text)
    raw = re.sub(r"<script type=.application/json.*?</script>", "", html, flags=re.S)
    if "<" in payload and payload.strip().startswith("<"):
        assert payload not in raw
    assert_inert_as_files({one["name"]: one for one in page.data("data")["downloads"]})


def assert_inert_as_files(offers):
    """No cell of what can be downloaded starts a formula, and every table is one."""
    rows = list(csv.reader(io.StringIO(offers["results.csv"]["text"])))
    assert len({len(row) for row in rows}) == 1
    for name in ("losses.csv", "timings.csv"):
        for part in offers[name]["parts"]:
            ((fixed,),) = csv.reader([part["fixed"]])
            rows.append([fixed])
    for row in rows:
        for text in row:
            number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text)
            assert number or not text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(json.loads(offers["run.json"]["text"])["records"]) == 3


SECRETS = (  # put together here, for the tree holds no such path
    "/" + "home/janedoe/lab/x.csv", "/srv/acme-secret/y.npz", "C:\\" + "Users\\janedoe\\z.csv", "file:///opt/acme-secret/w",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_no_user_and_no_folder_is_in_the_page(small, infect, secret):
    html = render(infect(small, f"cannot read {secret}"))
    assert "janedoe" not in html
    assert "acme-secret" not in html
    assert "/srv" not in html


def test_neither_the_machine_nor_the_place_of_the_run_is_in_the_page(html, varied):
    import getpass
    import socket

    assert str(varied.path) not in html
    assert str(varied.path.parent) not in html
    words = re.findall(r"[\w.-]+", Parsed(html).text)
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words


# --- numbers ------------------------------------------------------------------------------------------------


def unpacked(page, reference):
    one = page.data("arrays")[reference["array"]]
    return np.frombuffer(base64.b64decode(one["data"]), dtype="<" + one["type"])


def test_a_course_is_thinned_with_both_ends_and_its_extremes_and_says_so(page, varied):
    series = {one["name"]: one for one in page.data("data")["charts"]["losses"]["series"]}
    losses = varied.arrays("wrong")["losses"]
    at, values = unpacked(page, series["wrong"]["x"]), unpacked(page, series["wrong"]["y"])
    assert len(at) <= thinning.MOST_POINTS < len(losses)
    assert (at[0], at[-1]) == (0, len(losses) - 1)
    np.testing.assert_array_equal(values, losses[at])
    assert {int(losses.argmin()), int(losses.argmax())} <= set(at.tolist())
    assert page.text.count("Thinned: 2,000 of 2,501 points at most") == 2  # losses and difference


def test_a_short_course_is_whole_and_has_no_note(small):
    page = Parsed(render(small))
    series = page.data("data")["charts"]["losses"]["series"]
    assert [len(unpacked(page, one["x"])) for one in series] == [21] * len(series)
    assert "Thinned" not in page.text


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2, -3], "i4"), (np.array([0.1, np.nan, np.inf], np.float32), "f4"), ([0.1, 5e-324], "f8"), ([2**40], "f8")],
)
def test_packed_arrays_read_back_exactly(values, kind):
    packer = packing.Packer()
    assert packer.add(values) == 0
    (one,) = packer.packed
    assert one["type"] == kind
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(one["data"]), "<" + kind), np.asarray(values))


# --- the same bytes, small, without a framework -------------------------------------------------------------

RENDER = """
import hashlib, sys
from compare_ag.records import load_run
from compare_ag.report.page import render
print(hashlib.sha256(render(load_run(sys.argv[1])).encode()).hexdigest())
wanted = {"torch", "autograd", "jax", "matplotlib", "pluggy", "compare_ag_torch", "compare_ag_numpy"}
print(sorted(wanted & set(sys.modules)), sorted(m for m in sys.modules if m.startswith(("compare_ag.host", "compare_ag.suite"))))
"""


def test_another_process_gives_the_same_bytes_and_imports_no_framework(varied, html, tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "LC_ALL": "C", "COLUMNS": "40"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RENDER, str(varied.path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    digest, imported = done.stdout.splitlines()
    assert digest == hashlib.sha256(html.encode()).hexdigest()
    assert imported == "[] []"


def test_a_large_run_fits_into_a_mail(make_run, tmp_path):
    run = make_run({f"backend-{i}": 1e-5 * (1 + i) for i in range(10)}, steps=10_000, features=30, launches=20)
    assert len(render(run).encode()) <= 6_000_000


# --- into the run directory ---------------------------------------------------------------------------------


def test_the_page_is_written_beside_the_records_or_where_it_is_wanted(small, varied, html, tmp_path):
    assert write_report(varied).read_text(encoding="utf-8") == html
    assert write_report(small, tmp_path / "elsewhere.html").name == "elsewhere.html"


def test_a_page_that_cannot_be_made_is_told_and_never_raised(small, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    lost = records.Run(blocked / "run", small.manifest, small.records, small._cache)
    lost.__dict__["reference"] = small.reference
    assert "could not save" in keep_report(lost)

    def fails(run):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("compare_ag.report.page.write.render", fails)
    assert "could not be made (ZeroDivisionError: ours)" in keep_report(small)
