"""The bundled answers tell of the bundled code: change what a plugin does, and its answer changes."""

from __future__ import annotations

from pathlib import Path

import compare_ag_numpy
import pytest

from compare_ag.lab import QUESTIONS
from compare_ag.lab.interview import interview
from compare_ag.suite import select

HOME = Path(compare_ag_numpy.__file__).parent


@pytest.fixture
def changed(tmp_path, install_plugin):
    """A copy of the numpy plugin under another name, with some of its source exchanged; asked one question."""

    def ask(topic, *pairs):
        folder = tmp_path / "site" / "altered"
        folder.mkdir()
        for name in ("__init__.py", "answers.py"):
            text = (HOME / name).read_text().replace("compare_ag_numpy", "altered")
            for old, new in pairs if name == "__init__.py" else ():
                assert text.count(old) == 1, old
                text = text.replace(old, new)
            (folder / name).write_text(text)
        module = install_plugin("altered", "from altered import compare_ag_answers, compare_ag_backend\n")
        assert module == "altered_plugin"
        (found,) = interview(select(["altered"]), {topic: QUESTIONS[topic]}, list(QUESTIONS))
        assert not found.failure
        return found.replies[topic].finding

    return ask


RETURNED = "        return Weights(gradient, r.sum())\n"
ADDED = """        self.kept = getattr(self, "kept", 0) + gradient
        return Weights(self.kept, r.sum())
"""


def test_a_numpy_backend_that_accumulates_is_said_to(changed):
    assert changed("accumulation", (RETURNED, ADDED)).cell == "adds up"


def test_one_that_leaves_its_tape_alone_gives_the_same_again(changed):
    finding = changed("backward-twice", ("        r /= len(r)\n", "        r = r / len(r)\n"))
    assert finding.cell == "the same again"
    assert "nothing was freed" in finding.sentence


def test_one_that_updates_a_copy_is_not_in_place(changed):
    finding = changed("in-place-update", ("value -= learning_rate * slope", "value[...] = value - 0 * slope"))
    assert finding.cell == "unlike any known"


def test_unchanged_it_says_what_the_bundled_one_says(changed):
    assert changed("backward-twice").cell == "other numbers"
