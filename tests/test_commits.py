import contextlib
import gc
import itertools

import pytest
from django.db import DatabaseError, connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pusherable.backends import BaseBackend
from pusherable.commits import hand_over, is_waiting, send
from pusherable.events import Event
from pusherable.signals import publish_failed
from pusherable.suppression import suppress
from pusherable.thinning import latest
from tests.events import about, message
from tests.factories import TagFactory
from tests.testapp.models import Tag


class RecordingBackend(BaseBackend):
    calls = []

    def deliver(self, event):
        self.calls.append([event])

    def deliver_many(self, events):
        self.calls.append(list(events))


class JoiningBackend(RecordingBackend):
    """Its queue is a table of the database that an event is about."""

    def joins_transaction(self, using):
        return using == "default"

    def deliver(self, event):
        self.deliver_many([event])

    def deliver_many(self, events):
        super().deliver_many(events)
        for event in events:
            Tag.objects.create(label=event.data[:50])


class BreakingBackend(JoiningBackend):
    def deliver_many(self, events):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM nowhere")


@pytest.fixture
def calls(settings):
    settings.PUSHERABLE_BACKEND = f"{__name__}.RecordingBackend"
    RecordingBackend.calls.clear()
    return RecordingBackend.calls


@pytest.fixture
def joined(settings):
    settings.PUSHERABLE_BACKEND = f"{__name__}.JoiningBackend"
    RecordingBackend.calls.clear()
    return RecordingBackend.calls


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestSend:
    def test_without_a_transaction_it_leaves_at_once(self, calls):
        send((about(),))
        assert calls == [[about()]]

    def test_transaction_is_handed_over_once(self, calls):
        with transaction.atomic():
            for number in range(3):
                send((about(data=str(number)),))
            send((message(),))
            assert calls == []
        assert calls == [[about(data="2"), message()]]

    def test_more_than_100_channels_are_split(self, calls):
        send((Event(tuple(f"c{n}" for n in range(150)), "bell", "{}"),))
        assert [[len(event.channels) for event in call] for call in calls] == [[100, 50]]

    def test_rollback_sends_nothing_and_the_next_transaction_does(self, calls):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            send((about(data="lost"),))
            _ = 1 / 0
        with transaction.atomic():
            send((about(data="kept"),))
        assert calls == [[about(data="kept")]]

    def test_rollback_of_a_savepoint_lets_the_earlier_event_survive(self, calls):
        with transaction.atomic():
            send((about(data="before"),))
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                send((about(data="lost"),))
                _ = 1 / 0
        assert calls == [[about(data="before")]]

    def test_savepoint_that_is_released_replaces_the_earlier_event(self, calls):
        with transaction.atomic():
            send((about(data="before"),))
            with transaction.atomic():
                send((about(data="after"),))
        assert calls == [[about(data="after")]]

    def test_every_rollback_takes_its_own_events_alone(self, calls):
        with transaction.atomic():
            send((about(data="1"),))
            with transaction.atomic():
                send((message("2"),))
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                send((about(data="3"),))
                with transaction.atomic():
                    send((message("4"),))
                _ = 1 / 0
            send((message("5"),))
        assert calls == [[about(data="1"), message("2"), message("5")]]

    def test_immediate_leaves_at_once(self, calls):
        with transaction.atomic():
            send((about(),), immediate=True)
            assert calls == [[about()]]
        assert calls == [[about()]]

    def test_each_database_has_its_own_commit(self, calls):
        with transaction.atomic(using="other"):
            with transaction.atomic():
                send((about(),), using="default")
                send((message(),), using="other")
            assert calls == [[about()]]
        assert calls == [[about()], [message()]]

    def test_hook_of_the_project_that_publishes_comes_after(self, calls):
        with transaction.atomic():
            send((about(data="1"),))
            transaction.on_commit(lambda: send((message(),)))
            send((about(data="2"),))
        assert calls == [[about(data="2")], [message()]]

    def test_hook_of_the_project_that_fails_stops_none_of_ours(self, calls):
        def fail():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            send((message("1"),))
            transaction.on_commit(fail)
            send((message("2"),))
        assert calls == [[message("1"), message("2")]]

    def test_suppressed_is_lost_for_good(self, calls):
        with transaction.atomic(), suppress():
            send((about(),))
        with suppress():
            send((about(),), immediate=True)
        assert calls == []

    def test_suppression_at_the_time_of_the_commit_is_too_late(self, calls):
        with suppress(), transaction.atomic():
            pass
        atomic = transaction.atomic()
        atomic.__enter__()
        send((about(),))
        with suppress():
            atomic.__exit__(None, None, None)
        assert calls == [[about()]]

    def test_is_waiting_until_the_commit_or_rollback(self, calls):
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                send((about(),), mark="lost")
                assert is_waiting("lost", using="default")
                _ = 1 / 0
            send((about(),), mark="kept")
            assert [is_waiting(mark, using="default") for mark in ("lost", "kept", "other")] == [False, True, False]
        assert not is_waiting("kept", using="default")

    def test_nothing_stays_behind(self, calls):
        with transaction.atomic():
            for _ in range(3):
                send((message(),))
        with transaction.atomic():
            send((message(),))
            gc.collect()
            assert len(vars(connections["default"])["_pusherable_batch"]._hooks) == 1


# What happens inside a transaction, in order: an event, or a block of its own that is kept or taken back.
happenings = st.recursive(
    st.lists(st.sampled_from("ab"), max_size=3),
    lambda blocks: st.lists(st.sampled_from("ab") | st.tuples(st.booleans(), blocks), max_size=4),
    max_leaves=8,
)


class Undone(Exception):
    """Takes a block back."""


@pytest.mark.django_db(transaction=True)
class TestAnyTransaction:
    def perform(self, block, counter):
        """Publish as ``block`` says; return the events that survive it."""
        survivors = []
        for each in block:
            if isinstance(each, str):
                event = about(each, data=str(next(counter)))
                send((event,))
                survivors.append(event)
                continue
            is_kept, inner = each
            with contextlib.suppress(Undone), transaction.atomic():
                left = self.perform(inner, counter)
                if not is_kept:
                    raise Undone
                survivors += left
        return survivors

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(block=happenings)
    def test_the_last_of_what_survived_is_sent_in_its_order(self, calls, block):
        calls.clear()
        with transaction.atomic():
            survivors = self.perform(block, itertools.count())
            assert calls == []
        assert [event for call in calls for event in call] == list(latest(survivors))
        assert len(calls) <= 1


@pytest.mark.django_db
class TestUnderATestCase:
    def test_captured_hooks_send_what_was_published_inside(self, calls, django_capture_on_commit_callbacks):
        send((about(data="before"),))
        with django_capture_on_commit_callbacks(execute=True) as outer:
            send((about(data="1"),))
            with django_capture_on_commit_callbacks(execute=True) as inner:
                send((about(data="2"),))
                send((message(),))
            assert calls == [[about(data="2"), message()]]
        assert calls == [[about(data="2"), message()], [about(data="1")]]
        assert (len(outer), len(inner)) == (3, 2)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestSendToAQueueInTheDatabase:
    def test_event_is_queued_within_the_transaction(self, joined):
        with transaction.atomic():
            send((about(data="1"),))
            assert joined == [[about(data="1")]]
            send((about(data="2"),))
        assert [tag.label for tag in Tag.objects.order_by("pk")] == ["1", "2"]

    def test_rollback_takes_it_out_again(self, joined):
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                send((about(data="lost"),))
                _ = 1 / 0
            send((about(data="kept"),))
        assert [tag.label for tag in Tag.objects.all()] == ["kept"]

    def test_other_database_is_awaited(self, joined):
        with transaction.atomic(using="other"):
            send((about(),), using="other")
            assert joined == []
        assert joined == [[about()]]

    def test_queue_that_fails_spares_the_transaction(self, settings, caplog):
        settings.PUSHERABLE_BACKEND = f"{__name__}.BreakingBackend"
        with transaction.atomic():
            TagFactory(label="work")
            send((about(),))
        assert [tag.label for tag in Tag.objects.all()] == ["work"]
        [record] = caplog.records
        assert record.getMessage().startswith("The event 'updated' on post_1 was not delivered: ")
        assert issubclass(record.exc_info[0], DatabaseError)

    def test_backend_that_is_none_is_reported_after_the_commit(self, settings, caplog):
        settings.PUSHERABLE_BACKEND = "nowhere.Backend"
        with transaction.atomic():
            send((about(),))
            assert caplog.messages == []
        assert "PUSHERABLE_BACKEND = 'nowhere.Backend' cannot be imported" in caplog.text


class TestHandOver:
    def test_every_event_of_a_backend_that_raises_is_reported(self, settings, caplog):
        settings.PUSHERABLE_BACKEND = "nowhere.Backend"
        failed = []

        def receive(event, **kwargs):
            failed.append(event)

        publish_failed.connect(receive)
        try:
            hand_over([about(), message()])
        finally:
            publish_failed.disconnect(receive)
        assert failed == [about(), message()]
        assert "PUSHERABLE_BACKEND = 'nowhere.Backend' cannot be imported" in caplog.text
