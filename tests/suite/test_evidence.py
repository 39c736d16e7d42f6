"""What the answers at points show of the contract: who wrote into what."""

from __future__ import annotations

import pytest

import compare_ag

WRITES = {
    "to_numpy writes into X or y": (
        "        return tensor\n",
        "        shown = np.array(tensor)\n        tensor *= 2 if tensor.ndim == 2 else 1\n        return shown\n",
    ),
    "forward, backward or update writes into X or y": ("z = batch.X @ w + b", "batch.X[0] *= 2; z = batch.X @ w + b"),
    "forward or backward writes into the weights, at the point 'start'": (
        "z = batch.X @ w + b",
        "w *= 2; z = batch.X @ w + b",
    ),
}


@pytest.mark.parametrize("clause", WRITES)
def test_the_method_that_writes_is_named(clause, install_plugin, good_plugin, tmp_path):
    old, new = WRITES[clause]
    assert good_plugin.count(old) == 1
    install_plugin("broken", good_plugin.replace(old, new))
    run = compare_ag.run(["broken"], "synthetic:n=20,d=3", steps=20, timing=False, output=tmp_path / "run")
    assert run["broken"].status == "disagree"
    assert f"; {clause}" in run["broken"].verdict.message
    assert run["broken"].verdict.message.count("writes into") == 1
