"""The tutorial is true: its blocks run as one session, and every number on it is one that they print."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from compare_ag.problem.builtin_seed import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "autograd-by-comparison.md"
TEXT = TUTORIAL.read_text(encoding="utf-8")


def load_pages():
    """scripts/pages.py, which is no package."""
    spec = importlib.util.spec_from_file_location("compare_ag_pages", ROOT / "scripts" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pages = load_pages()


@pytest.fixture(scope="module")
def outputs() -> list[str | None]:
    """What the tutorial's blocks print now."""
    return pages.in_process_of_its_own(TUTORIAL)


@pytest.mark.thorough
def test_the_tutorial_shows_what_its_blocks_print(outputs):
    assert pages.differences(TUTORIAL.name, TEXT, pages.written(TEXT, outputs)) == ""


@pytest.mark.thorough
def test_an_altered_number_is_noticed(outputs):
    shown = [match for block in re.finditer(r"^```text\n(.*?)^```", TEXT, re.M | re.S)
             for match in re.compile(r"\d").finditer(TEXT, block.start(1), block.end(1))]  # fmt: skip
    assert len(shown) > 500
    for match in shown:
        digit = str((int(match[0]) + 1) % 10)
        altered = TEXT[: match.start()] + digit + TEXT[match.end() :]
        assert pages.written(altered, outputs) != altered


def test_every_block_is_one_that_is_run_or_printed():
    kinds = re.findall(r"^```(\w*)$", TEXT, re.M)
    opened = [kind for kind in kinds if kind]
    assert set(opened) == {"python", "console", "text"}
    assert kinds.count("") == len(opened)
    blocks = pages.blocks(TEXT)
    assert sum(kind != "text" for kind in opened) == len(blocks)
    assert sum(kind == "text" for kind in opened) == sum(block.output is not None for block in blocks)


def test_the_published_losses_are_the_notes():
    (numbers,) = re.findall(r"^published = \[\n(.*?)^\]", TEXT, re.M | re.S)
    assert [float(number) for number in numbers.split(",") if number.strip()] == [loss for _, loss in PUBLISHED]


def test_the_published_losses_are_far_from_where_six_digits_would_round_otherwise():
    """So that the table stays the same where another machine's last bit differs."""
    for _, loss in PUBLISHED:
        assert abs(loss * 1e6 % 1 - 0.5) > 0.05


@pytest.mark.parametrize(
    "page",
    [
        "```python\nprint(1)\n```\n",  # prints, and the page does not show it
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nx = 1\n```\n\n```text\n1\n```\n",  # prints nothing, and the page shows something
        "```python\n1 / 0\n```\n",
        "```console\n$ echo 1\n```\n\n```text\n2\n```\n",
    ],
)
def test_a_false_page_is_noticed_and_repaired(page):
    made = pages.written(page, pages.execute(page))
    assert pages.differences("page", page, made)
    assert pages.written(made, pages.execute(made)) == made


def test_blocks_share_a_session_and_errors_show_their_last_line():
    page = "```python\nx = 1\n```\n\nthen\n\n```python\nprint(x)\nx / 0\n```\n"
    assert pages.execute(page) == ["", "1\nZeroDivisionError: division by zero\n"]


def test_a_command_must_exit_as_stated():
    assert pages.execute("```console\n$ exit 3  # exits with 3\n```\n") == [None]
    with pytest.raises(pages.PageError, match="exits with 3"):
        pages.execute("```console\n$ exit 3\n```\n")


@pytest.mark.parametrize("name", pages.GENERATED)
def test_what_the_program_says_itself_stands_on_its_page(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert pages.GENERATED[name][1]() in page
    assert pages.differences(name, page, pages.generated(name, page)) == "", "python scripts/pages.py writes it"


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in pages.PAGES if name != TUTORIAL.name])
def test_other_pages_show_what_their_blocks_print(name):
    path = ROOT / "docs" / name
    text = path.read_text(encoding="utf-8")
    assert pages.differences(name, text, pages.written(text, pages.in_process_of_its_own(path))) == ""
