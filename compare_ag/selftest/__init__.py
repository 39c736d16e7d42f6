"""The proof that a verdict can fail: mutants must be caught, legitimate variants must not.

    population   which mutants there are, and what each becomes on which problem
    judge        one worker for each, judged exactly as an ordinary backend
    peers        what two published rules would have said on the same data

A mutant is loaded in a worker like any backend; nothing here imports one.
"""

from compare_ag.selftest.population import Specimen, specimens
from compare_ag.selftest.verdicts import Candidate, Outcome, SelftestResult, selftest

__all__ = ["Candidate", "Outcome", "SelftestResult", "Specimen", "selftest", "specimens"]
