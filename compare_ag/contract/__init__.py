"""The interface for a plugin's author: the backend, and optionally answers to the lab's questions and mutants.

    backend    the contract: an abstract class with the verbs of a training step, their arguments and return values
    answer     functions that show, by running it, how a framework behaves (`compare-ag explain`)
    mutant     mistakes made on purpose (`compare-ag selftest`)
    hookspecs  the hooks through which a module offers these; only this file and the worker import pluggy

Authors import all of it from `compare_ag` itself.
"""
