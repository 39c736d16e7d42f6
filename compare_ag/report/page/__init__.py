"""One HTML page per run: the complete report in one file, which loads nothing, opens anywhere and can be sent.

    plotly     the run's charts as specs for the page's script; `packing` encodes their arrays
    downloads  the raw data, for the page's own buttons
    markup     the template's environment, which cleans and escapes every text
    write      the page into the run directory

Records in, text out: the same records give the same bytes on every machine, and no framework is needed. The page's
policy (Content-Security-Policy) forbids every load and every script except the two whose hashes it names. Text of
plugins is cleaned of control characters and of paths, then escaped; none of it becomes a link, an attribute's name or a
style.
"""

from compare_ag.report.page.markup import render
from compare_ag.report.page.write import NAME, keep_report, write_report

__all__ = ["NAME", "keep_report", "render", "write_report"]
