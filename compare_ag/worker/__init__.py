"""What runs inside the child process: protocol, plugin loading, the training loop, the clock.

The host imports `compare_ag.worker.messages` alone, to speak with the child; everything else here runs
only in the child, next to exactly one plugin. A worker is given inputs and never the expected answer.
"""
