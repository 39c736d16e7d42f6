"""The host's side of the workers: the installed backends, and the life of a worker process.

discovery     the backends, from installed metadata; imports no plugin, no framework, no numpy
requirements  a backend's missing requirements and the line that installs them, also from metadata
process       one child process: pipes, deadline, logs, end
replies       which replies are possible answers to a request; all others are malformed
session       the conversation with a worker, in the terms of a run
environment   the machine, for the record
machine_lock  one timing at a time on a machine: timing excludes timing and training
"""
