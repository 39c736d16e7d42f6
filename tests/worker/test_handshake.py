"""The handshake names every mistake an author can make; each plugin here is loaded in a real worker."""

from __future__ import annotations

import pytest

from compare_ag.host.discovery import discover
from compare_ag.host.probe import probe


@pytest.fixture
def probe_source(install_plugin):
    def result(source: str):
        install_plugin("mine", source)
        return probe(discover().select(["mine"])[0])

    return result


def test_a_right_plugin_passes_and_is_described(probe_source, good_plugin):
    result = probe_source(good_plugin)
    assert result.ok, result.reason
    assert result.facts["dtypes"] == ["float32", "float64"]
    assert result.facts["splits"] is True
    assert result.facts["api_version"] == 1
    assert "numpy" in result.facts["versions"]


MISTAKES = {
    "misspelt hook": (
        ("def compare_ag_backend()", "def compare_ag_bakend()"),
        "malformed",
        "unknown hook compare_ag_bakend; did you mean compare_ag_backend?",
    ),
    "forgotten marker": (("@hookimpl", ""), "malformed", "compare_ag_backend() lacks its marker"),
    "forgotten marker and misspelt": (
        ("@hookimpl\ndef compare_ag_backend()", "def compare_ag_bakend()"),
        "malformed",
        "is compare_ag_bakend it, misspelt and unmarked?",
    ),
    "no hook at all": (
        ("@hookimpl\ndef compare_ag_backend():\n    return Mine", ""),
        "malformed",
        "implements no hook; add @compare_ag.hookimpl def compare_ag_backend()",
    ),
    "hook with an argument": (
        ("def compare_ag_backend()", "def compare_ag_backend(config)"),
        "malformed",
        "must be written compare_ag_backend() without arguments, not compare_ag_backend(config)",
    ),
    "returns nothing": (
        ("    return Mine", "    Mine"),
        "malformed",
        "returned None; it must return the backend class",
    ),
    "returns an instance": (
        ("    return Mine", "    return Mine()"),
        "malformed",
        "returned an instance of Mine; return the class",
    ),
    "returns another class": (
        ("    return Mine", "    return dict"),
        "malformed",
        "returned the class dict; it must return a subclass",
    ),
    "returns a number": (("    return Mine", "    return 7"), "malformed", "returned a int; it must return a subclass"),
    "hook raises": (
        ("    return Mine", "    return 1 / 0"),
        "malformed",
        "compare_ag_backend() raised ZeroDivisionError",
    ),
    "missing verb": (("def backward", "def backwards"), "malformed", "class Mine lacks backward(tape)"),
    "verb with too few parameters": (
        ("def update(self, weights, gradient, learning_rate)", "def update(self, weights, gradient)"),
        "malformed",
        "update(self, weights, gradient) cannot be called as update(weights, gradient, learning_rate)",
    ),
    "verb with one parameter more": (
        ("def forward(self, weights, batch)", "def forward(self, weights, batch, model)"),
        "malformed",
        "cannot be called as forward(weights, batch): missing a required argument: 'model'",
    ),
    "make_tensor without requires_grad": (
        ("def make_tensor(self, array, *, requires_grad=False)", "def make_tensor(self, array)"),
        "malformed",
        "cannot be called as make_tensor(array, *, requires_grad=False)",
    ),
    "asynchronous verb": (
        ("def backward", "async def backward"),
        "malformed",
        "backward is asynchronous or a generator",
    ),
    "verb that is no method": (
        ("    def backward(self, tape):", "    backward = 3\n\n    def gone(self, tape):"),
        "malformed",
        "backward is a int, not a method",
    ),
    "constructor with an argument": (
        ("    def prepare", "    def __init__(self, config):\n        pass\n\n    def prepare"),
        "malformed",
        "must be buildable without arguments: missing a required argument: 'config'",
    ),
    "newer API": (
        ("class Mine(Backend):", "class Mine(Backend):\n    api_version = 3"),
        "unsupported",
        "speaks API version 3, this compare-ag speaks 1",
    ),
    "dtypes as a string": (
        ("class Mine(Backend):", "class Mine(Backend):\n    dtypes = 'float32'"),
        "malformed",
        "must be a tuple of names",
    ),
    "missing module": (
        ("import numpy as np", "import numpy as np\nimport frobnicate"),
        "import-error",
        "needs the module 'frobnicate'",
    ),
    "syntax error": (
        ("class Mine(Backend):", "class Mine(Backend)"),
        "import-error",
        "SyntaxError in site/mine_plugin.py, line 6",
    ),
    "exits at import": (("import numpy as np", "import sys; sys.exit(7)"), "import-error", "raised SystemExit(7)"),
    "raises at import": (
        ("import numpy as np", "{}['x']"),
        "import-error",
        "raised KeyError: 'x' (site/mine_plugin.py, line 2)",
    ),
    "dies at import": (
        ("import numpy as np", "import os; os._exit(9)"),
        "crashed",
        "exit code 9 (last seen in import)",
    ),
    "quits at import without a word": (
        ("import numpy as np", "import os; os._exit(0)"),
        "crashed",
        "exited with code 0 without a result",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named(mistake, probe_source, good_plugin):
    (old, new), status, said = MISTAKES[mistake]
    source = good_plugin.replace(old, new)
    assert source != good_plugin
    result = probe_source(source)
    assert not result.ok
    assert (result.status, said in result.reason) == (status, True), result.reason


def test_an_entry_point_to_nowhere_is_named(install_plugin, tmp_path):
    install_plugin("mine")
    (tmp_path / "site" / "mine_plugin.py").unlink()
    result = probe(discover().select(["mine"])[0])
    assert result.status == "import-error"
    assert "names the module 'mine_plugin', which does not exist" in result.reason


def test_unusual_but_right_verbs_pass(probe_source, good_plugin):
    """Other parameter names, a static method and a default do not change what the worker's call means."""
    source = (
        good_plugin.replace(
            "def to_numpy(self, tensor):\n        return tensor",
            "@staticmethod\n    def to_numpy(t):\n        return t",
        )
        .replace("def backward(self, tape):\n        w,", "def backward(self, residuals, scale=1):\n        w,")
        .replace("= tape", "= residuals")
    )
    assert probe_source(source).ok
