"""Discovery against made-up distributions: good, broken, missing something, clashing. No pip, no import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag.host import requirements
from compare_ag.host.discovery import SelectionError, discover
from compare_ag.host.requirements import install_line, relative_path


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


@pytest.mark.parametrize("name", ["torch_compile", "torch-compile"])
@pytest.mark.parametrize("extra", ["torch_compile", "torch-compile", "Torch.Compile"])
def test_extras_are_compared_as_pep_685_normalises_them(site, name, extra):
    (offer,) = discover(site(entries=f"{name} = m", requires=[f'frobnicate>=2; extra == "{extra}"'])).offers
    assert offer.reason == "needs frobnicate>=2, which is not installed"


def test_an_extra_may_ask_for_others_of_its_own_distribution(site):
    own = [
        "Mine_Dist[inner,alpha]; extra == 'alpha'",
        "frobnicate>=2; extra == 'alpha'",
        "Mine-Dist[alpha]; extra == 'inner'",
        "frobnicate>=2; extra == 'inner'",
        "innermost; extra == 'inner'",
    ]
    (offer,) = discover(site("mine-dist", requires=own)).offers
    assert offer.requirements == ("frobnicate>=2", "innermost")


def test_a_mistake_in_another_extra_is_not_this_backends(site):
    (offer,) = discover(site(requires=["!!!; extra == 'other'"])).offers
    assert offer.status == "available"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("Version: 1.5\n", "needs frobnicate>=2, but 1.5 is installed"),
        ("Version: odd\n", "needs frobnicate>=2, but odd is installed"),
        ("", "needs frobnicate>=2, whose installed version cannot be read"),
        ("Version: 3.0rc1\n", ""),
    ],
)
def test_what_is_installed_in_a_wrong_version_is_said(site, tmp_path, monkeypatch, version, reason):
    found = tmp_path / "elsewhere" / "frobnicate-1.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text(f"Metadata-Version: 2.1\nName: frobnicate\n{version}")
    monkeypatch.syspath_prepend(str(found.parent))
    (offer,) = discover(site(requires=["frobnicate>=2; extra == 'alpha'"])).offers
    assert offer.reason == reason


def line(*, built_in: bool = False) -> str:
    return install_line(["frobnicate>=2"], built_in=built_in)


def test_in_a_pipx_environment_it_is_injected_into_that_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(Path("home", "pipx", "venvs", "compare-ag")))
    assert line() == "pipx inject compare-ag 'frobnicate>=2'"
    (tmp_path / "compare-ag-2").mkdir()
    (tmp_path / "compare-ag-2" / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "compare-ag-2"))
    assert line() == "pipx inject compare-ag-2 'frobnicate>=2'"
    monkeypatch.setattr(sys, "prefix", str(Path("src", "pipx", ".venv")))
    assert "pipx inject" not in line()


def test_without_pip_it_is_uv_that_installs(monkeypatch):
    monkeypatch.setattr(requirements, "_has_pip", lambda: False)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / "a b" / "python"))
    assert line() == "uv pip install --python 'a b/python' 'frobnicate>=2'"


def test_the_interpreter_is_named_from_the_current_folder_as_a_shell_finds_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    for folder, python in ((tmp_path, "bin/python"), (tmp_path / "bin", "./python"), (tmp_path / "b", sys.executable)):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        assert line() == f"{python} -m pip install 'frobnicate>=2'"


def test_the_constraints_are_for_built_in_backends_run_from_the_source_tree(monkeypatch):
    root = Path(requirements.__file__).parents[2]
    monkeypatch.chdir(root)
    assert " -m pip install -c constraints.txt 'frobnicate>=2'" in line(built_in=True)
    assert "constraints" not in line(built_in=False)


def test_a_path_is_shown_relative_only_below_the_current_folder(monkeypatch, tmp_path):
    (tmp_path / "ab").mkdir()
    monkeypatch.chdir(tmp_path)
    assert relative_path(str(tmp_path / "ab" / "c")) == str(Path("ab", "c"))
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert relative_path(str(tmp_path / "ab" / "c")) == str(tmp_path / "ab" / "c")


def test_built_in_frameworks_are_installed_through_the_constraints(site):
    path = site("compare-ag", entries="torch = compare_ag_torch", requires=["frobnicate>=2; extra == 'torch'"])
    (offer,) = discover(path).offers
    assert "-c " in offer.install
    assert "constraints.txt" in offer.install


BROKEN = {
    "no metadata": {"metadata": b""},
    "metadata that is no text": {"metadata": b"\xff\xfe\x00Name\xff"},
    "entry points that are no text": {"entries": b"[compare_ag]\n\xff\xfe = x\n"},
    "a section that does not end": {"entries": b"[other]\nx = y\n[compare_ag\nbroken = module\n"},
    "an entry without a module": {"entries": b"[compare_ag]\nbroken\n"},
    "requirements that do not parse": {"requires": ["!!!; extra == 'alpha'"]},
    "one name twice": {"entries": "alpha = one\nalpha = two"},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_distribution_costs_nobody_else_its_place(site, kind):
    site("broken", **BROKEN[kind])
    inventory = discover(site("good", entries="good = good_module"))
    assert "good" in [offer.name for offer in inventory.available()]
    assert [offer.name for offer in inventory.select(["good"])] == ["good"]
    said = [*inventory.notes, *(offer.reason for offer in inventory.offers if offer.name != "good")]
    assert any(said), "what is wrong with it is told"


@pytest.mark.parametrize("kind", ["entry points that are no text", "one name twice"])
def test_a_skipped_distribution_is_named_by_its_path(site, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (note,) = discover(site("broken", **BROKEN[kind])).notes
    assert note.startswith(f"skipped {Path('path0', 'broken-1.0.dist-info')}: ")


@pytest.mark.parametrize("name", ["Upper", "a/b", "..", "x" * 33, "con", "lpt1", "tоrch", "1st", "a b", "a\x1b[2J"])
def test_a_name_that_could_mislead_is_broken(site, name):
    inventory = discover(site(entries=f"{name} = module"))
    assert [offer.status for offer in inventory.offers] == ["broken"]
    assert inventory.available() == []
    assert inventory.names() == []
    with pytest.raises(SelectionError) as error:
        inventory.select([inventory.offers[0].name])
    assert str(error.value).isprintable()


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
    assert inventory.names() == []
    (note,) = inventory.notes
    assert note.endswith("offered by more than one distribution: select it with 'first:alpha' or 'second:alpha'")
    with pytest.raises(SelectionError, match="did you mean 'alpha'"):
        inventory.select(["alhpa"])


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
