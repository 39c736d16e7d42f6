"""The clock's surroundings: waiting for threads that go on after their work."""

from __future__ import annotations

import threading

from compare_ag.worker.clock import settle


def test_settle_waits_for_threads_that_spin_and_gives_up_on_those_that_never_rest():
    rest = threading.Event()

    def spin():
        while not rest.is_set():
            pass

    spinner = threading.Thread(target=spin)
    spinner.start()
    try:
        assert not settle()
    finally:
        rest.set()
        spinner.join()
    assert settle()
