"""The mutants that come with compare-ag: mistakes from real programs, and legitimate ways to compute differently.

    gradients    mistakes of `backward`                  losses        mistakes in the loss that `forward` reports
    updates      mistakes of `update`                    protocols     mistakes against the contract itself
    conditions   mistakes at some logits only, in some shapes, with two threads, or now and then
    legitimate   other sums, formulas and products, which must pass

`compare-ag selftest` runs each of them, applied to a correct backend, in a worker of its own.
"""

from compare_ag import Mutant, hookimpl
from compare_ag_mutants import conditions, gradients, legitimate, losses, protocols, updates


@hookimpl
def compare_ag_mutants() -> list[Mutant]:
    """All of them, mistakes first."""
    modules = (gradients, losses, updates, protocols, conditions, legitimate)
    return [mutant for module in modules for mutant in module.collection.mutants]
