"""What ``compare-ag list`` prints, with made-up inventories and probes: no worker is started here."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from compare_ag.cli.list import list_backends
from compare_ag.host import discovery
from compare_ag.host import probe as probing
from compare_ag.host.discovery import Inventory, Offer
from compare_ag.host.probe import ProbeResult

LONG = "a_rather_long_distribution_name_that_somebody_chose_for_reasons_of_their_own"
NEEDY = ("frobnicate>=2; extra == 'needy'", f"{LONG}>=3.1,<4; extra == 'needy'", f"{LONG}_two>=1; extra == 'needy'")


def offer(name="alpha", **facts) -> Offer:
    return Offer(name, facts.pop("module", "m"), facts.pop("distribution", "dist"), "1.0", "folder", **facts)


@pytest.fixture
def listed(monkeypatch):
    """A function that lists these offers with these options and returns click's result."""

    def invoke(*options, offers=(), notes=()):
        monkeypatch.setattr(discovery, "discover", lambda: Inventory(tuple(offers), tuple(notes)))
        return CliRunner().invoke(list_backends, options, catch_exceptions=False)

    return invoke


@pytest.fixture
def probed(monkeypatch):
    """The names that were probed; those in ``failing`` do not load."""
    names: list[str] = []
    facts = {
        "api_version": 1,
        "dtypes": ["float32", "float64"],
        "splits": True,
        "versions": {"frame": "2.5"},
        "import_seconds": 1.234,
    }

    def probe(offer: Offer) -> ProbeResult:
        names.append(offer.name)
        if offer.name == "cracked":
            return ProbeResult(False, "import-error", "raised \x1b[31mSystemExit(7)", {})
        return ProbeResult(True, "available", "", facts)

    monkeypatch.setattr(probing, "probe", probe)
    return names


def test_each_backend_is_one_line_whose_end_is_no_space(listed):
    lines = listed(offers=[offer("alpha"), offer("beta", module="")]).stdout.splitlines()
    assert lines[0].split() == ["backend", "status", "version", "distribution"]
    assert lines[1].split() == ["alpha", "available", "1.0", "dist"]
    assert lines[2].split(maxsplit=4) == ["beta", "broken", "1.0", "dist", "its entry point names no module"]
    assert [line for line in lines if line != line.rstrip()] == []


def test_an_install_line_is_printed_whole_and_can_be_copied(listed):
    needy = offer("needy", requires=NEEDY)
    lines = listed(offers=[needy]).stdout.splitlines()
    assert lines[1].split()[:2] == ["needy", "missing"]
    assert "frobnicate>=2, which is not installed" in lines[1]
    assert lines[-2:] == ["install what needy needs:", f"  {needy.install}"]
    assert f"'{LONG}<4,>=3.1'" in lines[-1]


def test_strangers_text_is_escaped(listed):
    shown = listed(offers=[offer("a\x1b[2J[bold]"), offer("tor\u202ehc")]).stdout
    assert r"a\x1b[2J[bold]" in shown
    assert r"tor\u202ehc" in shown
    assert "\x1b" not in shown


def test_nothing_installed_is_said(listed):
    assert listed().stdout == "no installed distribution offers a backend\n"


def test_notes_go_to_stderr_and_the_exit_code_stays_0(listed):
    for options in ([], ["--json"]):
        done = listed(*options, offers=[offer()], notes=["skipped some/where: it is broken"])
        assert done.stderr == "warning: skipped some/where: it is broken\n"
        assert done.exit_code == 0


def test_the_json_document_has_its_schema_and_every_field(listed):
    document = json.loads(listed("--json", offers=[offer("needy", requires=NEEDY)], notes=["n"]).stdout)
    assert document["schema"] == {"name": "compare-ag/list", "major": 1, "minor": 0}
    assert document["notes"] == ["n"]
    (row,) = document["backends"]
    assert list(row) == ["name", "status", "version", "distribution", "module", "reason", "install"]
    assert row["status"] == "missing"
    assert row["install"].endswith(f"'{LONG}_two>=1'")


def test_nothing_is_loaded_without_probe(listed, probed):
    listed(offers=[offer()])
    assert probed == []


def test_probe_loads_each_available_backend_and_shows_what_it_found(listed, probed):
    offers = [offer("alpha"), offer("cracked"), offer("needy", requires=NEEDY)]
    lines = listed("--probe", offers=offers).stdout.splitlines()
    assert probed == ["alpha", "cracked"]
    assert lines[1].endswith("loaded: frame 2.5; float32/float64; import 1.23 s")
    assert lines[2].split()[1] == "broken"
    assert lines[2].endswith(r"raised \x1b[31mSystemExit(7)")


def test_probe_puts_the_facts_into_the_json(listed, probed):
    rows = json.loads(listed("--probe", "--json", offers=[offer("alpha"), offer("cracked")]).stdout)["backends"]
    assert rows[0]["probe"]["versions"] == {"frame": "2.5"}
    assert (rows[1]["status"], rows[1]["probe"]) == ("broken", {})
