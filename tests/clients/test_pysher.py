"""pysher, which speaks version 6 of the protocol, reads strictly, and has threads of its own."""

import gc
import json
import threading

import pytest
from pysher import Pusher as Pysher

from tests.clients.conftest import publishing_to
from tests.clients.site import KEY, SECRET

#: Seconds until what never comes true fails.
PATIENCE = 20


class Listening:
    """A connected pysher, and what its channels and its connection have told."""

    def __init__(self, port, user):
        self._heard = []
        self._changed = threading.Condition()
        self.pysher = Pysher(
            KEY,
            custom_host="127.0.0.1",
            port=port,
            secure=False,
            secret=SECRET,
            user_data={"user_id": user, "user_info": {"name": user.title()}},
            auto_sub=True,
            reconnect_interval=0.1,
        )
        for event in ("pusher:connection_established", "pusher:pong", "pusher:error"):
            self.pysher.connection.bind(event, lambda data, event=event: self._note("connection", event, data))
        self.pysher.connect()
        self.wait_for_count("connection", "pusher:connection_established", 1)

    def subscribe(self, name, *events):
        """Listen to ``events``; the server's confirmation may be there before pysher listens to it."""
        channel = self.pysher.subscribe(name)
        for event in ("pusher_internal:subscription_succeeded", *events):
            channel.bind(event, lambda data, event=event: self._note(name, event, data))
        return channel

    def wait_for(self, source, event, data):
        self._wait(lambda: (source, event, data) in self._heard)

    def wait_for_count(self, source, event, count):
        self._wait(lambda: len(self.heard(source, event)) >= count)

    def heard(self, source, event):
        return [data for where, name, data in self._heard if (where, name) == (source, event)]

    def close(self):
        # Its thread would notice only after a hundred seconds that nothing comes any more.
        self.pysher.disconnect(0)

    def _note(self, *entry):
        with self._changed:
            self._heard.append(entry)
            self._changed.notify_all()

    def _wait(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self._heard


@pytest.fixture
def listen(server):
    opened = []

    def listen(user="ada", *, port=server.port):
        opened.append(Listening(port, user))
        return opened[-1]

    yield listen
    for each in opened:
        each.close()


@pytest.fixture
def confirmed(pusher):
    """Wait until the server counts so many subscriptions of a channel."""

    def confirmed(channel, count, *, pusher=pusher):
        deadline = threading.Event()
        timer = threading.Timer(PATIENCE, deadline.set)
        timer.start()
        try:
            while pusher.channel_info(channel, ["subscription_count"])["subscription_count"] != count:
                assert not deadline.is_set(), channel
        finally:
            timer.cancel()

    return confirmed


class TestPysher:
    def test_connects_and_is_answered(self, listen):
        """A.2, A.6, A.8, A.11, A.13"""
        ada = listen()
        assert (
            ada.pysher.connection.socket_id
            == json.loads(ada.heard("connection", "pusher:connection_established")[0])["socket_id"]
        )
        # It has sent its first ping before it was told anything.
        ada.pysher.connection.send_ping()
        ada.wait_for_count("connection", "pusher:pong", 2)
        assert ada.heard("connection", "pusher:pong") == ["{}", "{}"]
        assert ada.heard("connection", "pusher:error") == []

    def test_listens_and_speaks(self, listen, confirmed, pusher):
        """A.17, A.25, A.38, B.15"""
        ada, grace = listen("ada"), listen("grace")
        for listener in (ada, grace):
            listener.subscribe("gazette", "view")
            private = listener.subscribe("private-gazette", "view", "client-hello")
        for channel in ("gazette", "private-gazette"):
            confirmed(channel, 2)
            pusher.trigger(channel, "view", {"pk": "1"})
            for listener in (ada, grace):
                listener.wait_for(channel, "view", '{"pk": "1"}')
        private.trigger("client-hello", {"by": "grace"})
        ada.wait_for("private-gazette", "client-hello", '{"by":"grace"}')
        assert grace.heard("private-gazette", "client-hello") == []
        ada.pysher.unsubscribe("gazette")
        confirmed("gazette", 1)
        for listener in (ada, grace):
            assert listener.heard("connection", "pusher:error") == []

    def test_is_present(self, listen, confirmed, pusher):
        """A.30, A.33, A.34"""
        room = "presence-lobby"
        ada = listen("ada")
        ada.subscribe(room, "pusher_internal:member_added", "pusher_internal:member_removed")
        confirmed(room, 1)
        grace = listen("grace")
        grace.subscribe(room)
        ada.wait_for_count(room, "pusher_internal:member_added", 1)
        [added] = ada.heard(room, "pusher_internal:member_added")
        assert json.loads(added) == {"user_id": "grace", "user_info": {"name": "Grace"}}
        assert pusher.users_info(room) == {"users": [{"id": "ada"}, {"id": "grace"}]}
        grace.close()
        ada.wait_for_count(room, "pusher_internal:member_removed", 1)
        [removed] = ada.heard(room, "pusher_internal:member_removed")
        assert json.loads(removed) == {"user_id": "grace"}

    # It leaves open what could not connect.
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_comes_back_to_a_server_that_starts_anew(self, listen, confirmed, project):
        """A.56"""
        with project.serve("--noreload") as process:
            address = process.address
            listener = listen(port=process.port)
            listener.subscribe("gazette", "view")
            with publishing_to(process) as pusher:
                confirmed("gazette", 1, pusher=pusher)
        with project.serve("--noreload", address=address) as process, publishing_to(process) as pusher:
            confirmed("gazette", 1, pusher=pusher)
            pusher.trigger("gazette", "view", {"is": "back"})
            listener.wait_for("gazette", "view", '{"is": "back"}')
        # Here, where the warnings are expected, and not in some later test.
        gc.collect()
