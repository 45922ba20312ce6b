import resource
import sys

import pytest

from pusherable.server.descriptors import FileLimit, raise_file_limit

INFINITY = resource.RLIM_INFINITY


class TestRaiseFileLimit:
    @pytest.fixture
    def kernel(self, monkeypatch):
        """A kernel with these limits, that takes no more than ``most``."""

        def configure(soft, hard, *, most=INFINITY):
            def set_limit(kind, limits):
                if most != INFINITY and (limits[0] == INFINITY or limits[0] > most):
                    raise ValueError("current limit exceeds maximum limit")
                taken.append((kind, limits))

            monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
            monkeypatch.setattr(resource, "setrlimit", set_limit)

        taken = []
        configure.taken = taken
        return configure

    def test_the_soft_limit_becomes_the_hard_one(self, kernel):
        kernel(1024, 4096)
        assert raise_file_limit() == FileLimit(1024, 4096)
        assert kernel.taken == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def test_a_limit_that_is_high_already_is_left_alone(self, kernel):
        kernel(2_000_000, 2_000_000)
        assert raise_file_limit() == FileLimit(2_000_000, 2_000_000)
        assert kernel.taken == []

    def test_a_kernel_that_takes_less_is_given_less(self, kernel):
        kernel(256, INFINITY, most=10_240)
        assert raise_file_limit() == FileLimit(256, 10_240)
        assert kernel.taken == [(resource.RLIMIT_NOFILE, (10_240, INFINITY))]

    def test_a_kernel_that_takes_nothing_changes_nothing(self, kernel):
        kernel(256, INFINITY, most=256)
        assert raise_file_limit() == FileLimit(256, 256)

    def test_without_a_limit_there_is_none_to_raise(self, kernel):
        kernel(INFINITY, INFINITY)
        assert raise_file_limit() is None

    def test_a_system_that_knows_no_limits_has_none_to_raise(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "resource", None)
        assert raise_file_limit() is None
