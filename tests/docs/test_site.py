"""The documentation site: it builds without a warning, leads everywhere, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))

sphinx = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed: pip install -r requirements-dev.txt"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as the one documented command builds it."""
    folder = tmp_path_factory.mktemp("site")
    (documented,) = re.findall(r"`(python -m sphinx [^`]+) site`", (ROOT / "README.md").read_text(encoding="utf-8"))
    command = [sys.executable, *documented.split()[1:], str(folder / "html"), "--keep-going", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text(encoding="utf-8")


@sphinx
def test_every_page_is_reached_from_the_index(site):
    index = page(site, "index")
    for name in PAGES:
        assert name == "index" or f'href="{name}.html"' in index, name


@sphinx
def test_readme_and_author_guide_are_included_not_copied(site):
    for name, source, sentence in (
        ("overview", "README.md", "How far a correct program may be off is not a guessed"),
        ("author-guide", "plugins/README.md", "A complete plugin"),
        ("changelog", "CHANGELOG.md", "0.2.0"),
        ("contributing", "CONTRIBUTING.md", "Set up"),
        ("security", "SECURITY.md", "Supported versions"),
        ("gallery", "reports/gallery/README.md", "A plugin that fails"),
    ):
        assert (DOCS / f"{name}.md").read_text().splitlines()[0] == "```{include} ../" + source
        assert sentence in page(site, name)


@sphinx
def test_the_readmes_links_lead_through_the_site(site):
    overview = page(site, "overview")
    assert 'href="author-guide.html"' in overview
    assert 'href="autograd-by-comparison.html"' in overview
    assert re.search(r'<img [^>]*src="_images/[^"]*\.svg"', overview)


@sphinx
def test_the_gallery_shows_its_pictures_and_leads_to_the_whole_pages(site):
    gallery = page(site, "gallery")
    for picture in (ROOT / "reports" / "gallery").glob("report-*.png"):
        assert re.search(rf'<img alt="[^"]+" src="_images/{picture.name}"', gallery)
        assert (site / "_images" / picture.name).is_file()
    assert len(re.findall(r'href="_downloads/[^"]+/report\.html"', gallery)) == 4  # three runs and a sweep
    assert 'href="gallery.html"' in page(site, "index")


@sphinx
def test_every_link_inside_the_site_ends_somewhere(site):
    anchors = {name: set(re.findall(r'id="([^"]+)"', page(site, name))) for name in PAGES}
    broken = []
    for name in PAGES:
        for target in re.findall(r'href="([^"]+)"', page(site, name)):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target) or not target.strip("#"):
                continue
            if path and not (site / path.partition("?")[0]).exists():
                broken.append((name, target))
            elif anchor and (not path or path.endswith(".html")):
                where = path.removesuffix(".html") or name
                if where in anchors and anchor not in anchors[where]:
                    broken.append((name, target))
    assert broken == []


@sphinx
def test_nothing_is_loaded_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"', text)
        loads += re.findall(r'<link\b(?![^>]*rel="(?:index|search|next|prev|canonical)")[^>]*\bhref="([^"]+)"', text)
        loads += re.findall(r"url\(['\"]?([^)'\"]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)
        assert [load for load in loads if re.match(r"(https?:)?//", load)] == [], path.name


@sphinx
def test_formulas_are_mathml_and_none_is_left_as_source(site):
    for name in ("methods", "autograd-by-comparison"):
        assert page(site, name).count("<math") > 20
        assert not re.search(r"\\(frac|sum|sigma|le)\b", page(site, name))
