"""The graphs as a file: the SVG alone, or a complete HTML page, which loads nothing and runs no script."""

from __future__ import annotations

from html import escape

from compare_ag.records.graphs import GraphDocument
from compare_ag.report.graph.rows import READING, heading
from compare_ag.report.graph.svg import draw
from compare_ag.text import printable

_STYLE = """
:root{color-scheme:light dark}
body{margin:1rem;font:16px/1.5 system-ui,sans-serif;color:#1d2430;background:#fff}
p{max-width:46rem}li{overflow-wrap:anywhere}
.scroll{overflow-x:auto}
@media (prefers-color-scheme:dark){body{color:#e4e9f0;background:#12161c}}
""".strip()


def graph_page(document: GraphDocument) -> str:
    """One HTML page. The document must have a graph to draw."""
    names = ", ".join(printable(graph.backend) for graph in document.graphs)
    title = escape(f"The graph of the loss: {names}")
    messages = "".join(
        f"<li><b>{escape(printable(graph.backend))}</b> ({escape(graph.status)}): "
        f"{escape(printable(graph.message))}</li>"
        for graph in document.graphs
    )
    drawing = draw(document) or ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        f"<p>{escape(heading(document))}. {escape(READING)}</p><ul>{messages}</ul>"
        f"{f'<p>{escape(document.note)}</p>' if document.note else ''}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="graph">{drawing}</div></body></html>\n'
    )


def graph_file(document: GraphDocument) -> str:
    """The SVG as a file of its own. Raises ValueError where no backend has a graph."""
    drawing = draw(document)
    if drawing is None:
        raise ValueError("no backend has a graph to draw")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing}\n'
