"""Discovery against made-up distributions: good, broken, missing something, clashing. No pip, no import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag.host import discovery
from compare_ag.host.discovery import SelectionError, discover


@pytest.fixture
def site(tmp_path):
    """A function that writes one *.dist-info into a folder of its own; returns the search path so far."""
    folders: list[str] = []

    def add(
        name="alpha", version="1.0", entries="alpha = alpha_module", requires=(), metadata=None, group="compare_ag"
    ):
        folder = tmp_path / f"path{len(folders)}"
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {r}" for r in requires),
        ]
        if metadata is None:
            metadata = "\n".join(lines).encode()
        if metadata:
            (info / "METADATA").write_bytes(metadata)
        text = f"[{group}]\n{entries}\n" if isinstance(entries, str) else entries
        (info / "entry_points.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        folders.append(str(folder))
        return folders

    return add


def test_an_offer_is_read_from_metadata_alone(site):
    (offer,) = discover(site("Alpha_Dist", entries="alpha = no_such_module")).offers
    assert (offer.name, offer.module, offer.distribution, offer.version) == (
        "alpha",
        "no_such_module",
        "alpha-dist",
        "1.0",
    )
    assert offer.status == "available"


def test_other_groups_do_not_count(site):
    assert discover(site(group="pytest11")).offers == ()


def test_one_distribution_may_offer_several_backends(site):
    path = site(entries="b = m.two\na = m.one")
    assert [offer.name for offer in discover(path).available()] == ["a", "b"]


@pytest.mark.parametrize(
    ("requirement", "status", "reason"),
    [
        ("frobnicate>=2; extra == 'alpha'", "missing", "needs frobnicate>=2, which is not installed"),
        ("numpy>=999; extra == 'alpha'", "missing", "needs numpy>=999, but "),
        ("numpy>=1; extra == 'alpha'", "available", ""),
        ("frobnicate; extra == 'other'", "available", ""),
        ("frobnicate; extra == 'alpha' and python_version < '3'", "available", ""),
        ("frobnicate", "available", ""),
    ],
)
def test_missing_is_what_the_extra_of_the_same_name_asks_for(site, requirement, status, reason):
    (offer,) = discover(site(requires=[requirement])).offers
    assert offer.status == status
    assert offer.reason.startswith(reason)
    assert bool(offer.install) == (status == "missing")


def test_a_missing_backend_is_refused_with_its_install_line(site):
    inventory = discover(site(requires=["frobnicate>=2; extra == 'alpha'"]))
    assert inventory.available() == []
    with pytest.raises(SelectionError, match=r"install it with: .*python\S* -m pip install 'frobnicate>=2'"):
        inventory.select(["alpha"])


def test_the_install_line_fits_the_environment(site, monkeypatch):
    (offer,) = discover(site(requires=["frobnicate>=2; extra == 'alpha'"])).offers
    monkeypatch.setattr(sys, "prefix", str(Path("home", "pipx", "venvs", "compare-ag")))
    assert discovery.install_line(offer) == "pipx inject compare-ag 'frobnicate>=2'"
    monkeypatch.undo()
    monkeypatch.setattr(discovery, "_has_pip", lambda: False)
    assert discovery.install_line(offer).startswith("uv pip install --python ")


def test_built_in_frameworks_are_installed_through_the_constraints(site):
    path = site("compare-ag", entries="torch = compare_ag_torch", requires=["frobnicate>=2; extra == 'torch'"])
    (offer,) = discover(path).offers
    assert "-c " in offer.install
    assert "constraints.txt" in offer.install


BROKEN = {
    "no metadata": {"metadata": b""},
    "metadata that is no text": {"metadata": b"\xff\xfe\x00Name\xff"},
    "entry points that are no text": {"entries": b"[compare_ag]\n\xff\xfe = x\n"},
    "entry points without a section": {"entries": b"compare_ag = x\n[compare_ag\nbroken"},
    "requirements that do not parse": {"requires": ["!!!; extra == 'alpha'"]},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_distribution_costs_nobody_else_its_place(site, kind):
    site("broken", **BROKEN[kind])
    inventory = discover(site("good", entries="good = good_module"))
    assert "good" in [offer.name for offer in inventory.available()]
    assert [offer.name for offer in inventory.select(["good"])] == ["good"]


@pytest.mark.parametrize("name", ["Upper", "a/b", "..", "x" * 33, "con", "lpt1", "tоrch", "1st", "a b", "a\x1b[2J"])
def test_a_name_that_could_mislead_is_broken(site, name):
    for offer in discover(site(entries=f"{name} = module")).offers:
        assert offer.status == "broken"
    assert discover([]).available() == []


def test_the_same_distribution_twice_on_the_path_counts_once(site):
    site("alpha", "1.0")
    (offer,) = discover(site("alpha", "2.0")).offers
    assert offer.version == "1.0"


def test_two_strangers_with_one_name_are_refused_naming_both(site):
    site("first", entries="alpha = one")
    inventory = discover(site("second", entries="alpha = two"))
    with pytest.raises(SelectionError, match="name 'first:alpha' or 'second:alpha'"):
        inventory.select(["alpha"])
    assert inventory.select(["Second:alpha"])[0].module == "two"
    assert inventory.available() == []


def test_a_built_in_keeps_its_bare_name_with_a_warning(site):
    site("aaa-pretender", entries="numpy = pretender")
    inventory = discover(site("compare-ag", entries="numpy = compare_ag_numpy"))
    assert inventory.select(["numpy"])[0].module == "compare_ag_numpy"
    assert [offer.module for offer in inventory.available()] == ["compare_ag_numpy"]
    assert any("'aaa-pretender:numpy'" in note for note in inventory.notes)
    assert inventory.select(["aaa-pretender:numpy"])[0].module == "pretender"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["alhpa"], "no backend 'alhpa'; did you mean 'alpha'? installed: alpha"),
        (["zzz"], "no backend 'zzz'; installed: alpha"),
        (["alpha", ""], "an empty backend name; installed: alpha"),
        ([], "no backend is named"),
        (["\x1b[31mred"], r"no backend '\x1b[31mred'"),
    ],
)
def test_a_wrong_selection_is_told_in_one_sentence(site, names, said):
    with pytest.raises(SelectionError) as error:
        discover(site()).select(names)
    assert said in str(error.value)


def test_a_backend_named_twice_runs_once(site):
    assert len(discover(site()).select(["alpha", "alpha"])) == 1


def test_discovery_imports_neither_plugins_nor_numpy():
    code = "import sys; from compare_ag.host.discovery import discover; discover().available(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "autograd", "pluggy", "compare_ag_numpy", "compare_ag_torch"} & set(modules)
    assert "compare_ag.host.discovery" in modules
