import logging
import threading

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import connection
from django.test import Client

from pusherable.management import visitors
from pusherable.management.visitors import VisitorSignals, has_receivers, make_request
from pusherable.server.facts import Connected, Subscribed, Unsubscribed
from pusherable.server.openings import Opening, Openings
from pusherable.signals import channel_subscribe, channel_unsubscribe

OPENING = Opening(
    target="/app/k%C3%A9y?protocol=7",
    headers=(("Host", "localhost:8001"), ("Origin", "http://localhost:8000"), ("User-Agent", "Köln")),
    peer=("127.0.0.1", 40_000),
    is_secure=False,
)


def opening_of(user):
    client = Client()
    client.force_login(user)
    return Opening(
        target="/app/key",
        headers=(
            ("Host", "localhost"),
            ("Cookie", "a=b"),
            ("Cookie", f"sessionid={client.cookies['sessionid'].value}"),
        ),
        peer=(),
        is_secure=True,
    )


class FaultySessionMiddleware(SessionMiddleware):
    def process_request(self, request):
        raise RuntimeError("a fault of the project")


@pytest.fixture
def received():
    """What receivers of both signals are sent."""
    received = []

    def receive(signal, **named):
        received.append((signal, named))

    channel_subscribe.connect(receive)
    channel_unsubscribe.connect(receive)
    yield received
    channel_subscribe.disconnect(receive)
    channel_unsubscribe.disconnect(receive)


class TestMakeRequest:
    def test_the_request_is_that_of_the_opening(self, settings):
        settings.ALLOWED_HOSTS = ["localhost"]
        request = make_request(OPENING)
        assert (request.method, request.path, request.GET.dict()) == ("GET", "/app/kéy", {"protocol": "7"})
        assert request.build_absolute_uri("/x") == "http://localhost:8001/x"
        assert (request.META["REMOTE_ADDR"], request.headers["Origin"]) == ("127.0.0.1", "http://localhost:8000")
        assert request.headers["User-Agent"] == "Köln"
        assert request.body == b""

    @pytest.mark.django_db
    def test_the_visitor_is_who_the_session_says_and_asked_for_late(self, django_assert_num_queries):
        opening = opening_of(User.objects.create_user("ada"))
        with django_assert_num_queries(0):
            request = make_request(opening)
        with django_assert_num_queries(2):
            assert request.user.get_username() == "ada"
        assert request.is_secure()
        assert request.session.session_key
        assert "REMOTE_ADDR" not in request.META

    @pytest.mark.django_db
    def test_without_a_session_the_visitor_is_anonymous(self):
        assert make_request(OPENING).user == AnonymousUser()

    def test_a_project_without_sessions_has_no_user(self, settings):
        settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", f"{__name__}.opening_of"]
        request = make_request(OPENING)
        assert (hasattr(request, "user"), hasattr(request, "session")) == (False, False)


class TestHasReceivers:
    def test_nobody_has_asked(self):
        assert not has_receivers()

    def test_somebody_has_asked(self, received):
        assert has_receivers()


class TestVisitorSignals:
    @pytest.fixture
    def signals(self):
        return VisitorSignals(Openings({"1.1": OPENING, "2.2": OPENING}))

    @pytest.fixture
    def run(self, signals, monkeypatch):
        """Send what has been observed, in this thread; its connection is the tests' own."""
        monkeypatch.setattr(visitors.connections, "close_all", lambda: None)
        monkeypatch.setattr(visitors, "close_old_connections", lambda: None)

        def run(*facts):
            for fact in facts:
                signals.observe(fact)
            signals._queue.put(None)
            signals.run()

        return run

    def test_subscriptions_are_signals_in_order(self, run, received):
        run(
            Connected("1", "1.1"),
            Subscribed("1", "1.1", "a"),
            Subscribed("1", "2.2", "b"),
            Unsubscribed("1", "1.1", "a"),
        )
        told = [(signal, named["sender"], named["channel"], named["socket_id"]) for signal, named in received]
        assert told == [
            (channel_subscribe, VisitorSignals, "a", "1.1"),
            (channel_subscribe, VisitorSignals, "b", "2.2"),
            (channel_unsubscribe, VisitorSignals, "a", "1.1"),
        ]
        assert received[0][1]["request"].path == "/app/kéy"

    def test_a_receiver_that_fails_is_logged_and_harms_nobody(self, run, received, caplog):
        def fail(**named):
            raise RuntimeError("a fault of a receiver")

        channel_subscribe.connect(fail)
        try:
            run(Subscribed("1", "1.1", "a"), Subscribed("1", "1.1", "b"))
        finally:
            channel_subscribe.disconnect(fail)
        assert [named["channel"] for _, named in received] == ["a", "b"]
        assert [record.exc_info[1].args for record in caplog.records] == [("a fault of a receiver",)] * 2

    def test_a_middleware_that_fails_is_logged_and_harms_nobody(self, run, received, caplog, settings):
        settings.MIDDLEWARE = [f"{__name__}.FaultySessionMiddleware"]
        run(Subscribed("1", "1.1", "a"))
        assert received == []
        assert caplog.messages == ["A visitor could not be identified, and the signal for a is not sent."]
        assert caplog.records[0].exc_info[1].args == ("a fault of the project",)

    def test_what_is_too_much_is_dropped_and_logged_once(self, received, caplog, monkeypatch):
        monkeypatch.setattr(visitors, "QUEUE_SIZE", 1)
        signals = VisitorSignals(Openings({"1.1": OPENING}))
        for channel in "abc":
            signals.observe(Subscribed("1", "1.1", channel))
        assert caplog.record_tuples == [
            (
                "pusherable",
                logging.ERROR,
                "1 subscriptions wait for your receivers: those that follow are dropped.",
            )
        ]
        signals.stop(timeout=0)

    @pytest.mark.django_db(transaction=True)
    def test_receivers_run_in_a_thread_whose_connections_are_closed(self, signals):
        connections_used = []

        def use_database(**named):
            User.objects.count()
            connections_used.append((threading.current_thread(), connection.connection))

        channel_subscribe.connect(use_database)
        closed = threading.Event()
        close_all = visitors.connections.close_all
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(visitors.connections, "close_all", lambda: (close_all(), closed.set()))
                signals.start()
                signals.observe(Subscribed("1", "1.1", "a"))
                assert closed.wait(20)
                signals.stop(timeout=20)
        finally:
            channel_subscribe.disconnect(use_database)
        assert [thread.name for thread, _ in connections_used] == ["pusherable-signals"]
        assert not signals._thread.is_alive()
