"""The documentation site: `python -m sphinx -W -b html docs OUT`. Needs no network, neither to build nor to read.

README, author guide and changelog are included, never copied: their links, which lead through the repository, are
turned into links through the site while they are read. Formulas become MathML, which browsers draw by themselves;
Sphinx's own choice, MathJax, would be loaded from elsewhere.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import compare_ag  # noqa: E402  # the one of this tree, whatever is installed

project = "compare-ag"
author = "the authors of compare-ag"
copyright = "the authors of compare-ag; MIT licence"
version = release = compare_ag.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"compare-ag {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
pygments_style = "default"
pygments_dark_style = "monokai"

INCLUDED = {
    "README.md": "overview.md",
    "plugins/README.md": "author-guide.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "reports/gallery/README.md": "gallery.md",
}
"""file of the repository -> page that includes it"""

APPLY = "<mo>&ApplyFunction;</mo>"
THIN = '<mspace width="0.167em"/>'

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def site_links(source: Path, text: str) -> str:
    """The text of an included file with its links as a page of the site has them.

    A folder has no page, so that only the link's words remain; any other file of the repository can be downloaded.
    """

    def moved(match: re.Match[str]) -> str:
        image, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = (source.parent / target).resolve()
        if not path.exists():
            return match[0]
        if path.is_dir():
            return words
        inside = path.relative_to(ROOT).as_posix()
        page = INCLUDED.get(inside) or Path(os.path.relpath(path, ROOT / "docs")).as_posix()
        return f"{image}[{words}]({page}{anchor})"

    return _LINK.sub(moved, text)


def _include_read(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:  # noqa: ARG001  # Sphinx's signature
    content[0] = site_links(ROOT / "docs" / path, content[0])


def mathml(node: nodes.Element, *, block: bool) -> str:
    """A formula as MathML; one that cannot be read becomes a warning with its place."""
    try:
        formula = str(latex2mathml.tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logging.getLogger("docs").warning("formula %r: %s", node.astext(), error, location=node)
        return ""
    # what TeX does by itself and MathML leaves to its maker: bars hug what they enclose, and names of functions
    # stand apart from a factor before and an argument after them
    formula = re.sub(r"<mo[^>]*>\|</mo>", '<mo stretchy="false" lspace="0" rspace="0">|</mo>', formula)
    formula = re.sub(r"(</m(?:i|n|sub|sup|frac|row)>\s*)(<mi>\w\w+</mi>)", rf"\1{THIN}\2", formula)
    return re.sub(rf"{APPLY}(?=\s*<m(?:i|n|sub|sup|frac|row)\b)", rf"{APPLY}{THIN}", formula)


def _visit_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def _visit_math_block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register what is above with Sphinx."""
    app.connect("include-read", _include_read)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
