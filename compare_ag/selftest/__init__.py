"""The proof that a verdict can fail: mutants must be caught, legitimate variants must not.

    population   the installed mutants
    verdicts     trains each mutant in a worker, and judges it exactly as an ordinary backend
    peers        the judgement of two published rules on the same data
    speed        the error rates of speed verdicts on this machine

A mutant is loaded in a worker like any backend; no module of this package imports one.
"""

from compare_ag.selftest.population import Specimen, specimens
from compare_ag.selftest.verdicts import Candidate, Outcome, SelftestResult, selftest

__all__ = ["Candidate", "Outcome", "SelftestResult", "Specimen", "selftest", "specimens"]
