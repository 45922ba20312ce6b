import logging
import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from pusherable import failures
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_disconnect_failure, report_failure
from pusherable.signals import publish_failed

EVENT = Event(("post_1", "post"), "view", "{}")


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(failures.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def received():
    calls = []

    def receive(sender, event, reason, exception, **kwargs):
        calls.append((sender, event, reason, exception))

    publish_failed.connect(receive)
    yield calls
    publish_failed.disconnect(receive)


def unreachable():
    return DeliveryFailed("It is gone.", reason="unreachable")


class StillTimer:
    """A timer that waits for a test to run it."""

    is_started = daemon = False

    def __init__(self, seconds, tell, arguments):
        self.seconds = seconds
        self._tell = tell
        self._arguments = arguments

    def start(self):
        self.is_started = True

    def cancel(self):
        self.is_started = False

    def run(self):
        self._tell(*self._arguments)


def raise_no_thread(timer):
    raise RuntimeError("can't start new thread")


@pytest.mark.usefixtures("clock")
class TestReportFailure:
    def test_failure_is_logged_and_sent(self, caplog, received):
        error = unreachable()
        report_failure(EVENT, error, sender=type(self))
        assert caplog.record_tuples == [
            ("pusherable", logging.ERROR, "The event 'view' on post_1, post was not delivered: It is gone.")
        ]
        assert received == [(type(self), EVENT, "unreachable", error)]

    def test_same_cause_is_logged_once_a_minute_with_its_count(self, caplog, received, clock):
        for _ in range(3):
            report_failure(EVENT, unreachable(), sender=type(self))
        clock[0] += 59.9
        report_failure(EVENT, unreachable(), sender=type(self))
        assert len(caplog.records) == 1
        clock[0] += 0.1
        report_failure(EVENT, unreachable(), sender=type(self))
        assert caplog.messages[1:] == [
            "The event 'view' on post_1, post was not delivered: It is gone. (3 more like it since the last line)"
        ]
        assert len(received) == 5

    def test_count_is_told_when_the_minute_is_over_though_nothing_comes(self, caplog, monkeypatch):
        timers = []
        monkeypatch.setattr(failures.threading, "Timer", lambda *args: timers.append(StillTimer(*args)) or timers[-1])
        for _ in range(3):
            report_failure(EVENT, unreachable(), sender=type(self))
        [timer] = timers
        assert (timer.seconds, timer.daemon, timer.is_started) == (60.0, True, True)
        timer.run()
        assert caplog.messages[1:] == [f"2 more like it since the last line, at last: {caplog.messages[0]}"]
        timer.run()
        report_failure(EVENT, unreachable(), sender=type(self))
        # That line was the one of the next minute.
        assert (len(caplog.records), len(timers)) == (2, 2)

    def test_timer_finds_nothing_to_tell_that_a_line_has_told(self, caplog, monkeypatch, clock):
        timers = []
        monkeypatch.setattr(failures.threading, "Timer", lambda *args: timers.append(StillTimer(*args)) or timers[-1])
        for _ in range(2):
            report_failure(EVENT, unreachable(), sender=type(self))
        clock[0] += 60
        report_failure(EVENT, unreachable(), sender=type(self))
        timers[0].run()
        assert len(caplog.records) == 2

    def test_machine_without_a_thread_to_give_tells_it_at_the_end(self, caplog, monkeypatch):
        monkeypatch.setattr(failures.threading.Timer, "start", raise_no_thread)
        for _ in range(2):
            report_failure(EVENT, unreachable(), sender=type(self))
        failures.quiet.tell_all()
        assert caplog.messages[1].startswith("1 more like it since the last line, at last: The event 'view'")

    def test_end_of_the_process_tells_what_was_kept_quiet(self):
        script = """
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_failure
for _ in range(3):
    report_failure(Event(("a",), "view", "{}"), DeliveryFailed("It is gone.", reason="x"), sender=Event)
"""
        finished = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        )
        line = "The event 'view' on a was not delivered: It is gone."
        assert finished.stderr.splitlines() == [line, f"2 more like it since the last line, at last: {line}"]

    def test_several_causes_are_told_at_the_end(self, caplog):
        for reason in ("timeout", "unreachable"):
            for _ in range(2):
                report_failure(EVENT, DeliveryFailed(f"It is {reason}.", reason=reason), sender=type(self))
        failures.quiet.tell_all()
        assert [message[:6] for message in caplog.messages[2:]] == ["1 more", "1 more"]

    def test_user_who_cannot_be_disconnected_is_another_cause(self, caplog, received):
        report_failure(EVENT, unreachable(), sender=type(self))
        for user_id in ("7", "8"):
            report_disconnect_failure(user_id, unreachable())
        assert caplog.messages[1:] == ["The user '7' could not be disconnected: It is gone."]
        assert len(received) == 1

    def test_same_error_of_another_composition_is_another_cause(self, caplog):
        report_failure(None, ValueError("no"), sender=type(self), name="view of PostDetail")
        report_failure(None, ValueError("no"), sender=type(self), name="view of PageDetail")
        assert len(caplog.records) == 2

    def test_traceback_is_logged_where_the_message_does_not_explain(self, caplog):
        report_failure(EVENT, unreachable(), sender=type(self))
        report_failure(EVENT, ImproperlyConfigured("Set it."), sender=type(self))
        report_failure(EVENT, KeyError("a fault"), sender=type(self))
        assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]

    def test_other_cause_is_logged_at_once(self, caplog):
        report_failure(EVENT, unreachable(), sender=type(self))
        report_failure(EVENT, DeliveryFailed("It is slow.", reason="timeout"), sender=type(self))
        assert len(caplog.records) == 2

    def test_event_that_was_never_composed_is_named(self, caplog, received):
        error = ValueError("no")
        report_failure(None, error, sender=type(self), name="view of post")
        assert caplog.messages == ["The event 'view of post' was not delivered: no"]
        assert received == [(type(self), None, "ValueError", error)]

    def test_receiver_that_fails_harms_nobody(self, received):
        def fail(**kwargs):
            raise RuntimeError("receiver")

        publish_failed.connect(fail)
        try:
            report_failure(EVENT, unreachable(), sender=type(self))
        finally:
            publish_failed.disconnect(fail)
        assert len(received) == 1
