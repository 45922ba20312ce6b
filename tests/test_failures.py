import logging

import pytest
from django.core.exceptions import ImproperlyConfigured

from pusherable import failures
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_failure
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
