"""One HTML page per run: everything a reader wants, in one file that loads nothing, opens anywhere and can be sent.

    charts     what the arrays show, as series for plotly: `courses`, `costs`; `packing` makes them small
    downloads  the raw data, for the page's own buttons
    markup     the template's environment: every text is cleaned and escaped on its way in
    write      the page into the run directory

Records in, text out: the same records give the same bytes, whatever machine renders them, and no framework is needed.
The page's policy (Content-Security-Policy) allows no load from anywhere and no script but the two whose hashes it
names. Strangers' text is cleaned of control characters and of paths, then escaped; nothing of it becomes a link, an
attribute's name or a style.
"""

from compare_ag.report.page.markup import render
from compare_ag.report.page.write import NAME, keep_report, write_report

__all__ = ["NAME", "keep_report", "render", "write_report"]
