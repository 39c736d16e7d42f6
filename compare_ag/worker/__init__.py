"""Runs inside the child process: protocol, plugin loading, the training loop, the clock.

The host imports only `compare_ag.worker.messages`, to talk to the child; all other modules here run only in the child,
next to exactly one plugin. A worker receives inputs and never the expected result of anything it is asked to compute.
"""
