"""The mutants that come with compare-ag: mistakes that people have really made, and rightful ways to do it differently.

    gradients    what `backward` may get wrong           losses        what `forward` may report wrong
    updates      what `update` may get wrong             protocols     what breaks the contract itself
    conditions   what acts at some logits only, in some shapes, with two threads, or now and then
    legitimate   other sums, formulas and products, which must pass

`compare-ag selftest` runs each of them in a worker of its own, made to a correct backend.
"""

from compare_ag import Mutant, hookimpl
from compare_ag_mutants import conditions, gradients, legitimate, losses, protocols, updates


@hookimpl
def compare_ag_mutants() -> list[Mutant]:
    """All of them, mistakes first."""
    modules = (gradients, losses, updates, protocols, conditions, legitimate)
    return [mutant for module in modules for mutant in module.collection.mutants]
