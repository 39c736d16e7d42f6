"""The template's environment, and the rendering of the page.

Every expression in the template passes `_clean_value`, which cleans text of control characters and paths; Jinja then
escapes it. Data for the script go through `tojson`, which escapes characters that could end a script; arrays are
base64.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import compare_ag
from compare_ag.records import Run
from compare_ag.report import cells, facts, tables
from compare_ag.report.charts import charts
from compare_ag.report.escape import clean
from compare_ag.report.glossary import GLOSSARY, entry_id, entry_of
from compare_ag.report.page.downloads import downloads
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.plotly import specs
from compare_ag.report.summary import answer_sentences
from compare_ag.text import everywhere

SECTIONS = {
    "verdicts-part": "Verdicts",
    "losses-part": "Loss",
    "difference-part": "Difference",
    "weights-part": "Weights",
    "speed-part": "Speed",
    "accuracy-part": "Accuracy and cost",
    "graph-part": "Graph",
    "method-part": "Method",
    "glossary-part": "Glossary",
    "data-part": "Data",
}


def render(run: Run) -> str:
    """The page of a run as one HTML text. Raises `RecordError` where arrays are damaged."""
    packer = Packer()
    drawn = specs(charts(run), packer)
    offered = downloads(run, packer, drawn)
    graph = _graph(run)
    has = {
        "losses-part": "losses" in drawn or tables.losses(run) is not None,
        "difference-part": "difference" in drawn,
        "weights-part": tables.weights(run) is not None,
        "accuracy-part": "accuracy" in drawn,
        "graph-part": graph is not None,
    }
    page: str = (
        environment()
        .get_template("page.html")
        .render(
            run=run,
            version=compare_ag.__version__,
            policy=policy(),
            style=Markup(asset("page.css")),
            plotly=Markup(asset("vendor/plotly-basic.min.js")),
            script=Markup(asset("page.js")),
            sections={id: title for id, title in SECTIONS.items() if has.get(id, True)},
            answer=list(answer_sentences(run, clean)),
            tables=tables,
            facts=facts,
            noise_of=cells.noise,
            charts=drawn,
            # texts are cleaned here, because the finalizer does not see text inside a script
            data={"charts": everywhere(drawn, clean), "downloads": offered},
            arrays=packer.packed,
            downloads=offered,
            graph=None if graph is None else Markup(graph),
            glossary=GLOSSARY,
            entry_id=entry_id,
            entry_of=entry_of,
        )
    )
    return page


@cache
def environment() -> Environment:
    """Where templates are found, and how every expression in them is cleaned and escaped."""
    made = Environment(
        loader=PackageLoader("compare_ag.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean_value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": True, "separators": (",", ":")}
    return made


def _clean_value(value: Any) -> Any:
    """The output of an expression: cleaned text, or our own markup unchanged."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def asset(name: str) -> str:
    """A text file of this package."""
    return files("compare_ag.report.page").joinpath(name).read_text(encoding="utf-8")


@cache
def policy() -> Markup:
    """The policy: no load, these two scripts only; the styles that plotly writes; the page's own images."""
    hashes = " ".join(f"'sha256-{_digest(asset(name))}'" for name in ("vendor/plotly-basic.min.js", "page.js"))
    return Markup(
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _graph(run: Run) -> str | None:
    """The graph of the loss as SVG, where the run recorded one."""
    from compare_ag.report.graph.svg import graph_svg

    return graph_svg(run)
