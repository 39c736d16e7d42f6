"""Fifty strings that a plugin, a data file or a path may bring along, each an attack on one form of output or more.

Written with escapes, so that this file is harmless itself. A test that takes the argument ``payload`` runs once for
each; `infect` puts one wherever a record holds a stranger's text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare_ag.records import Run

PAYLOADS = {
    # HTML: out of a text, an attribute, a script, a comment
    "script": "<script>alert(1)</script>",
    "script-end": "</script><script>alert(1)</script>",
    "script-end-space": "</ScRiPt ><svg/onload=alert(1)>",
    "comment-in-script": "<!--<script>",
    "comment-end": "--><img src=x onerror=alert(1)>",
    "attribute-double": '"><img src=x onerror=alert(1)>',
    "attribute-single": "'><img src=x onerror=alert(1)>",
    "attribute-bare": "x onmouseover=alert(1)",
    "style": "</style><style>*{display:none}</style>",
    "title-end": "</title><script>alert(1)</script>",
    "textarea-end": "</textarea><script>alert(1)</script>",
    "cdata": "]]><script>alert(1)</script>",
    "entity": "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x3c;b&#x3e;",
    "iframe": "<iframe srcdoc='<script>alert(1)</script>'>",
    "base": "<base href=//example.invalid/><a href=x>",
    "meta": '<meta http-equiv="refresh" content="0;url=//example.invalid/">',
    "svg": "<svg><script>alert(1)</script></svg>",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}",
    "line-separator": "a\u2028alert(1)\u2029b",
    # links
    "javascript-url": "javascript:alert(1)",
    "javascript-tab": "java\tscript:alert(1)",
    "data-url": "data:text/html,<script>alert(1)</script>",
    "markdown-link": "[click](javascript:alert(1))",
    "markdown-image": "![x](https://example.invalid/track.png)",
    "autolink": "<https://example.invalid/> https://example.invalid/ www.example.invalid",
    # Markdown: out of a cell, a code span, a line
    "pipe": "a | b | c",
    "backslash-pipe": "a\\| b\\",
    "code-span": "`code` ``more``",
    "fence": "```\n</details>\n# heading",
    "heading": "\n# heading\n\n- item\n",
    "emphasis": "*a* _b_ **c** __d__ ~~e~~",
    "mention": "@everyone #1 :tada: $x^2$",
    "reference": "[x]: https://example.invalid/ 'title'",
    "html-block": "<details><summary>x</summary>",
    # rich's markup, and what moves a terminal
    "rich-close": "[/bold]",
    "rich-style": "[red on white]x[/][link=https://example.invalid/]y[/link]",
    "escape-colour": "\x1b[31;1mred\x1b[0m",
    "escape-clear": "\x1b[2J\x1b[H",
    "escape-title": "\x1b]0;owned\x07",
    "escape-link": "\x1b]8;;https://example.invalid/\x1b\\x\x1b]8;;\x1b\\",
    "c1-control": "\x9b31mred\x9d0;owned\x9c",
    "carriage-return": "bad\rgood\x08\x08\x08",
    "null": "a\x00b",
    "bidi": "abc\u202edcba\u202c\u2066x\u2069",
    "invisible": "num\u200bpy\ufeff\u00ad",
    # spreadsheets
    "formula": "=HYPERLINK(\"https://example.invalid/\";\"x\")",
    "formula-plus": "+1+cmd|' /C calc'!A0",
    "formula-minus": "-2+3+cmd|' /C calc'!A0",
    "formula-at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "csv-quotes": '\t=1+1","=2+2"\r\n=3+3,\'"',
}  # fmt: skip
"""fifty, by what they are"""


def infect(run: Run, payload: str) -> Run:
    """The run, in memory, with the payload as backend name, version, error text, data column, path and so on.

    Every field of the records that holds free text, and those of our own words that are read as they are; not the status,
    which decides what is shown, nor the dtype, of which others are refused. The
    numbers and the arrays stay.
    """
    from compare_ag import records

    def text(record: Any, *fields: str) -> Any:
        return records.replace(record, **dict.fromkeys(fields, payload))

    def renamed(name: str | None) -> str | None:
        """Names stay apart from one another."""
        return None if name is None else f"{payload}{order.index(name) or ''}"

    def verdict(found: Any) -> Any:
        if found is None:
            return None
        tests = [records.replace(one, findings=[payload]) for one in found.tests]
        return records.replace(
            text(found, "message", "remark"), quantity=payload, coordinate=payload, diagnosis=[payload], tests=tests
        )

    order = list(run.records)
    backends, cache = {}, {}
    for name, record in run.records.items():
        changed = records.replace(
            text(record, "module", "distribution", "version", "reason", "timing_note", "memory_note", "backend_class"),
            name=renamed(name),
            logs=[payload],
            warnings=[payload],
            versions={payload: payload},
            pools=[{"user_api": payload, "filepath": payload, "num_threads": 1}],
            verdict=verdict(record.verdict),
            fused_verdict=verdict(record.fused_verdict),
        )
        if record.convergence is not None:
            changed = records.replace(changed, convergence=text(record.convergence, "message"))
        if record.cost is not None:
            changed = records.replace(changed, cost=text(record.cost, "timed_by"))
        if record.memory is not None:
            changed = records.replace(changed, memory=text(record.memory, "source", "tape_source"))
        cache[changed.name] = run.arrays(name)
        backends[changed.name] = changed
    manifest = run.manifest
    speed = manifest.speed
    if speed is not None:
        pairs = [
            records.replace(text(p, "verdict"), backend=renamed(p.backend), baseline=renamed(p.baseline))
            for p in speed.pairs
        ]
        warning = records.StabilityWarning(id=payload, message=payload, advice=payload)
        control = renamed(speed.control_backend)
        twins = [renamed(name) or "" if name else "" for name in speed.twins]
        speed = records.replace(
            text(speed, "stopped", "checkpoint"), pairs=pairs, control_backend=control, twins=twins, warnings=[warning]
        )
    problem = text(manifest.problem, "name", "description", "start", "learning_rate_source", "loss")
    problem = records.replace(problem, label_names=(payload, payload), parameters={payload: 1.0})
    environment = text(manifest.environment, "python", "implementation", "system", "machine", "cpu")
    environment = records.replace(
        environment, libraries={payload: payload}, settings={payload: payload}, thread_variables={payload: payload}
    )
    manifest = records.replace(
        text(manifest, "tool_version", "created", "reference"),
        backends=list(backends),
        baseline=renamed(manifest.baseline),
        problem=problem,
        environment=environment,
        options={payload: payload},
        warnings=[payload],
        speed=speed,
    )
    infected = records.Run(Path(payload.replace("\x00", "")), manifest, backends, cache)
    # cached properties: what they would read from a path that is none
    infected.__dict__.update({"reference": run.reference, "control": run.control})
    return infected
