"""What strangers wrote stays text: fifty payloads in every free-text field, inert in each form of output."""

from __future__ import annotations

import io
import unicodedata

import pytest
from rich.console import Console

import compare_ag
from compare_ag.report.terminal import print_run
from compare_ag.text import printable


@pytest.fixture(scope="module")
def run(tmp_path_factory, brief):
    """A short real run with two backends."""
    folder = tmp_path_factory.mktemp("payloads")
    return compare_ag.run(["numpy", "autograd"], steps=30, timing=brief, output=folder / "run")


def harmful(text: str) -> set[str]:
    """Characters that do something to a terminal, the line's end and the styles of a report apart."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")} - {"\n"}


def test_a_terminal_shows_payloads_and_does_nothing_else(run, infect, payload):
    file = io.StringIO()
    print_run(infect(run, payload), Console(file=file, width=2000, color_system=None))
    text = file.getvalue()
    assert harmful(text) == set()
    assert text.count(printable(payload)) > 20
