"""Every check of compare-ag's conformance kit, as one test each."""

from compare_ag.check import parametrize_backend_checks


@parametrize_backend_checks(["mybackend"], expected_failed={})
def test_backend(check):
    check()
