"""The host's side of the workers: which backends there are, and the life of one worker process.

discovery     what installed metadata says; imports no plugin, no framework, no numpy
requirements  what a backend lacks and the line that installs it; reads metadata too
process       one child process: pipes, deadline, logs, end
replies       which replies can answer what a worker was asked; all others are malformed
session       the conversation with it, in the terms of a run
environment   the machine, for the record
machine_lock  one timing at a time on a machine: timing excludes timing and training
"""
