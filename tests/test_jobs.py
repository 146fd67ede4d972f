"""A job that is asked to stop."""

import os
import signal

import pytest

from ptpp.jobs import stoppable


def test_a_job_goes_on_until_it_is_asked_to_stop_and_repeated_requests_leave_it_time_to_save():
    with stoppable() as stopping:
        assert not stopping()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping()


def test_a_second_ctrl_c_ends_a_job_at_once():
    with stoppable() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_signals_mean_what_they_meant_before():
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
