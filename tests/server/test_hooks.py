import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pusher import Pusher

from pusherable.server import hooks
from pusherable.server.commands import Tell
from pusherable.server.facts import (
    Broadcast,
    CacheMissed,
    ClientEvent,
    Connected,
    CountChanged,
    Disconnected,
    MemberAdded,
    MemberRemoved,
    Occupied,
    Refused,
    Unsubscribed,
    Vacated,
    WebhooksTold,
)
from pusherable.server.hooks import HookQueue, NotSent, Webhooks, make_sender
from tests.server.conftest import APP

NOW = 1_000.0
WALL = 1_700_000_000.25


def occupied(channel="a"):
    return {"name": "channel_occupied", "channel": channel}


def vacated(channel="a"):
    return {"name": "channel_vacated", "channel": channel}


def leave(channel="a", socket_id="1.1"):
    return [Unsubscribed("1", socket_id, channel), Vacated("1", channel)]


class TestHookQueue:
    @pytest.fixture
    def queue(self):
        return HookQueue()

    @pytest.fixture
    def tell(self, queue):
        def tell(*facts, now=NOW):
            for fact in facts:
                queue.take_in(fact, now)

        return tell

    @pytest.mark.parametrize(
        ("fact", "event"),
        [
            (Occupied("1", "a"), occupied()),
            (MemberAdded("1", "presence-a", "7"), {"name": "member_added", "channel": "presence-a", "user_id": "7"}),
            (
                MemberRemoved("1", "presence-a", "7"),
                {"name": "member_removed", "channel": "presence-a", "user_id": "7"},
            ),
            (Vacated("1", "a"), vacated()),
            (CacheMissed("1", "cache-a"), {"name": "cache_miss", "channel": "cache-a"}),
            (
                CountChanged("1", "a", 3),
                {"name": "subscription_count", "channel": "a", "subscription_count": 3},
            ),
            (
                ClientEvent("1", "private-a", "client-hi", "{}", "1.1"),
                {
                    "name": "client_event",
                    "channel": "private-a",
                    "event": "client-hi",
                    "data": "{}",
                    "socket_id": "1.1",
                },
            ),
            (
                ClientEvent("1", "presence-a", "client-hi", "{}", "1.1", "7"),
                {
                    "name": "client_event",
                    "channel": "presence-a",
                    "event": "client-hi",
                    "data": "{}",
                    "socket_id": "1.1",
                    "user_id": "7",
                },
            ),
        ],
    )
    def test_a_fact_is_an_event(self, queue, tell, fact, event):
        """C.3"""
        tell(fact)
        assert queue.take_batch(NOW + hooks.BATCH_WINDOW) == [event]
        assert queue.take_batch(NOW + 100) == []

    @pytest.mark.parametrize("fact", [Connected("1", "1.1"), CountChanged("1", "presence-a", 3)])
    def test_other_facts_are_none(self, queue, tell, fact):
        """C.4: of presence channels, members are told instead of counts."""
        tell(fact)
        assert (len(queue), queue.next_due()) == (0, None)

    def test_events_wait_a_moment_for_others(self, queue, tell):
        tell(Occupied("1", "a"))
        tell(Occupied("1", "b"), now=NOW + 0.03)
        assert queue.take_batch(NOW + 0.04) == []
        assert queue.next_due() == NOW + hooks.BATCH_WINDOW
        assert queue.take_batch(NOW + hooks.BATCH_WINDOW) == [occupied("a"), occupied("b")]

    def test_a_full_batch_does_not_wait(self, queue, tell):
        names = [f"c{number}" for number in range(hooks.BATCH_SIZE + 1)]
        tell(*(Occupied("1", name) for name in names))
        assert queue.take_batch(NOW) == [occupied(name) for name in names[:-1]]
        assert queue.take_batch(NOW) == []
        assert queue.take_batch(NOW + hooks.BATCH_WINDOW) == [occupied(names[-1])]

    def test_who_unsubscribes_is_told_of_at_once_and_in_order(self, queue, tell):
        tell(Occupied("1", "a"), *leave("a"), Occupied("1", "a"), *leave("a"), *leave("b", "2.2"))
        batch = queue.take_batch(NOW + hooks.BATCH_WINDOW) + queue.take_batch(NOW + 2 * hooks.BATCH_WINDOW)
        assert batch == [occupied(), vacated(), occupied(), vacated(), vacated("b")]

    def test_a_departure_that_may_be_a_disconnection_is_waited_for(self, queue, tell):
        tell(*leave())
        assert queue.next_due() == NOW + hooks.BATCH_WINDOW
        assert queue.take_batch(NOW) == []

    def test_who_is_disconnected_is_told_of_after_three_seconds(self, queue, tell):
        """C.5"""
        removed = {"name": "member_removed", "channel": "presence-a", "user_id": "7"}
        tell(
            Unsubscribed("1", "1.1", "presence-a"),
            MemberRemoved("1", "presence-a", "7"),
            Vacated("1", "presence-a"),
            *leave("b"),
            Disconnected("1", "1.1"),
        )
        assert queue.next_due() == NOW + 3
        assert queue.take_batch(NOW + 2.99) == []
        assert queue.take_batch(NOW + 3) == [removed, vacated("presence-a"), vacated("b")]

    def test_each_waits_its_own_three_seconds(self, queue, tell):
        tell(*leave("a"), Disconnected("1", "1.1"))
        tell(*leave("b", "2.2"), Disconnected("1", "2.2"), now=NOW + 1)
        assert queue.take_batch(NOW + 3) == [vacated("a")]
        assert queue.take_batch(NOW + 4) == [vacated("b")]

    def test_a_disconnection_puts_off_nobody_else_s_departure(self, queue, tell):
        tell(*leave(), Disconnected("1", "2.2"))
        assert queue.take_batch(NOW + hooks.BATCH_WINDOW) == [vacated()]

    @pytest.mark.parametrize(
        ("gone", "back", "channel"),
        [
            (Vacated("1", "a"), Occupied("1", "a"), "a"),
            (MemberRemoved("1", "presence-a", "7"), MemberAdded("1", "presence-a", "7"), "presence-a"),
        ],
    )
    def test_a_return_in_time_is_neither_told_as_departure_nor_as_arrival(self, queue, tell, gone, back, channel):
        """C.5"""
        tell(Unsubscribed("1", "1.1", channel), gone, Disconnected("1", "1.1"))
        tell(back, now=NOW + 2.9)
        assert queue.next_due() is None
        assert queue.take_batch(NOW + 10) == []

    def test_another_member_s_arrival_is_no_return(self, queue, tell):
        tell(
            Unsubscribed("1", "1.1", "presence-a"),
            MemberRemoved("1", "presence-a", "7"),
            Disconnected("1", "1.1"),
            MemberAdded("1", "presence-a", "8"),
        )
        batches = queue.take_batch(NOW + 1) + queue.take_batch(NOW + 3)
        assert [(event["name"], event["user_id"]) for event in batches] == [
            ("member_added", "8"),
            ("member_removed", "7"),
        ]

    def test_misses_at_the_same_time_are_one(self, queue, tell):
        """C.4"""
        miss = {"name": "cache_miss", "channel": "cache-a"}
        tell(CacheMissed("1", "cache-a"), CacheMissed("1", "cache-a"), CacheMissed("1", "cache-b"))
        tell(CacheMissed("1", "cache-a"), now=NOW + 2.9)
        assert queue.take_batch(NOW + 3) == [miss, miss | {"channel": "cache-b"}]
        tell(CacheMissed("1", "cache-a"), now=NOW + 3)
        assert queue.take_batch(NOW + 4) == [miss]

    def test_a_miss_after_an_event_is_a_new_one(self, queue, tell):
        tell(CacheMissed("1", "cache-a"), Broadcast("1", "cache-a", "e", "{}", 1), CacheMissed("1", "cache-a"))
        assert len(queue.take_batch(NOW + 1)) == 2

    def test_a_queue_that_is_full_drops_what_follows(self, queue, tell, monkeypatch):
        monkeypatch.setattr(hooks, "QUEUE_SIZE", 2)
        tell(*(Occupied("1", name) for name in "abc"))
        tell(*leave("a"), *leave("b"), *leave("c"), Disconnected("1", "1.1"))
        assert queue.dropped == 2
        assert queue.take_batch(NOW + 1) == [occupied("a"), occupied("b")]
        assert queue.take_batch(NOW + 3) == [vacated("a"), vacated("b")]

    def test_flushed_it_waits_for_nobody(self, queue, tell):
        tell(Occupied("1", "a"), *leave("b", "2.2"), Disconnected("1", "2.2"), *leave("c", "3.3"))
        queue.flush()
        assert queue.take_batch(NOW) == [occupied("a"), vacated("c"), vacated("b")]
        assert queue.next_due() is None


class Receiver:
    """The far end and the time: what is sent, how it is answered, and what happens while nobody looks."""

    def __init__(self, ledger=None):
        self.now = NOW
        self.requests = []
        self.answers = []
        self.waits = []
        self.webhooks = Webhooks(
            APP, self.send, ledger=ledger, clock=lambda: self.now, wall_clock=lambda: WALL + self.now - NOW
        )
        self.webhooks.wait = self.wait

    def send(self, body, headers):
        self.requests.append((self.now, body, headers))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, seconds):
        """Time passes; without anything to wait for, the server stops."""
        self.waits.append(seconds)
        if seconds is None:
            self.webhooks._is_stopping = True
        else:
            self.now += seconds

    def tell(self, *facts):
        for fact in facts:
            self.webhooks.observe(fact)

    @property
    def events(self):
        """All that was sent."""
        return [event for _, body, _ in self.requests for event in json.loads(body)["events"]]

    @property
    def counts(self):
        return (self.webhooks.sent, self.webhooks.failed, self.webhooks.dropped)


class TestWebhooks:
    @pytest.fixture
    def receiver(self):
        return Receiver()

    def test_what_happens_together_is_one_signed_request(self, receiver):
        """C.1, C.2, C.9"""
        receiver.tell(Occupied("1", "a"), Occupied("1", "é"))
        receiver.webhooks.run()
        [(_, body, headers)] = receiver.requests
        assert json.loads(body) == {"time_ms": 1_700_000_000_300, "events": [occupied("a"), occupied("é")]}
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Pusher-Key"] == APP.key
        assert headers["X-Pusher-Signature"] == hooks.sign(APP.secret, body)
        assert receiver.counts == (1, 0, 0)

    def test_other_apps_are_none_of_its_business(self, receiver):
        receiver.tell(Occupied("2", "a"), Refused(4001, "No such app"))
        receiver.webhooks.run()
        assert receiver.requests == []

    @pytest.mark.parametrize("answer", [199, 302, 404, 500, NotSent("nobody is there")])
    def test_a_request_that_is_not_taken_is_sent_again_as_it_was(self, receiver, answer, caplog):
        """C.6"""
        receiver.tell(Occupied("1", "a"))
        receiver.answers = [answer, answer, answer, 299]
        receiver.webhooks.run()
        began = NOW + hooks.BATCH_WINDOW
        assert [at - began for at, _, _ in receiver.requests] == [0, 1, 3, 7]
        assert len({body for _, body, _ in receiver.requests}) == 1
        assert receiver.counts == (1, 0, 0)
        problem = "nobody is there" if isinstance(answer, NotSent) else f"the answer was {answer}"
        assert caplog.messages == [f"A webhook was not taken and is tried again for five minutes: {problem}"]

    def test_after_five_minutes_a_request_is_given_up_and_the_next_one_sent(self, receiver, caplog):
        """C.6"""
        receiver.tell(Occupied("1", "a"))
        receiver.answers = [503] * 11
        wait = receiver.wait

        def wait_and_meet(seconds):
            wait(seconds)
            if len(receiver.requests) == 11:
                receiver.tell(Occupied("1", "b"))

        receiver.webhooks.wait = wait_and_meet
        receiver.tell(Occupied("1", "a"))
        receiver.webhooks._queue.flush()
        receiver.webhooks.run()
        began = receiver.requests[0][0]
        pauses = [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 300]
        assert [at - began for at, _, _ in receiver.requests[:11]] == pauses
        assert caplog.messages[-1] == "A webhook with 2 events was given up: the answer was 503"
        assert receiver.webhooks.failed == 1

    def test_what_happens_meanwhile_is_sent_after_it_in_order(self, receiver):
        receiver.tell(Occupied("1", "a"))
        receiver.answers = [500, 500]
        wait, names = receiver.wait, iter("bcdefgh")

        def wait_and_meet(seconds):
            wait(seconds)
            if 1 <= len(receiver.requests) <= 2:
                receiver.tell(Occupied("1", next(names)))

        receiver.webhooks.wait = wait_and_meet
        receiver.webhooks.run()
        events = [[event["channel"] for event in json.loads(body)["events"]] for _, body, _ in receiver.requests]
        assert events == [["a"], ["a"], ["a"], ["b", "c"]]

    def test_a_fault_of_ours_is_logged_and_the_rest_sent(self, receiver, caplog):
        receiver.tell(*(Occupied("1", f"c{number}") for number in range(hooks.BATCH_SIZE + 1)))
        receiver.answers = [RuntimeError("a fault of the server")]
        receiver.webhooks.run()
        assert receiver.counts == (1, 1, 0)
        assert caplog.messages == ["A webhook failed and is dropped. This is a fault of the server."]
        assert caplog.records[0].exc_info

    def test_what_is_too_much_is_dropped_and_logged_once(self, receiver, caplog, monkeypatch):
        monkeypatch.setattr(hooks, "QUEUE_SIZE", 1)
        complaint = "1 webhook events wait to be sent: those that follow are dropped."
        receiver.tell(*(Occupied("1", name) for name in "abc"))
        assert receiver.counts == (0, 0, 2)
        assert caplog.messages == [complaint]
        receiver.webhooks.run()
        receiver.tell(*(Occupied("1", name) for name in "de"))
        assert caplog.messages == [complaint, complaint]

    def test_a_stop_ends_the_pause_before_another_try(self, receiver, caplog):
        receiver.tell(Occupied("1", "a"))
        receiver.answers = [500]

        def stop(seconds):
            receiver.webhooks._is_stopping = bool(receiver.requests)
            receiver.now += seconds

        receiver.webhooks.wait = stop
        receiver.webhooks.run()
        assert receiver.counts == (0, 1, 0)
        assert caplog.messages[-1] == "A webhook with 1 events was given up: the answer was 500"


class SharedLedger:
    """What webhooks see of a log that several processes share; ``told`` is what they want the others to know."""

    def __init__(self, *, is_in_charge):
        self.is_in_charge = is_in_charge
        self.place = None
        self.told = []

    def enter_soon(self, command):
        self.told.append(command)


class TestSeveralProcesses:
    """All of them note what happens, and the one in charge tells."""

    @pytest.fixture
    def ledger(self):
        return SharedLedger(is_in_charge=True)

    @pytest.fixture
    def receiver(self, ledger):
        return Receiver(ledger)

    @pytest.fixture
    def other_ledger(self):
        return SharedLedger(is_in_charge=False)

    @pytest.fixture
    def other(self, other_ledger):
        return Receiver(other_ledger)

    @pytest.fixture
    def happen(self, receiver, other, ledger, other_ledger):
        """Let both processes come to a place in the log."""

        def happen(place, *facts):
            ledger.place = other_ledger.place = place
            receiver.tell(*facts)
            other.tell(*facts)

        return happen

    @pytest.fixture
    def take_over(self, ledger, other_ledger, other):
        """Let one process hear what the one in charge has told, and be in charge itself; what it sends then."""

        def take_over():
            for command in ledger.told:
                other.tell(WebhooksTold(command.app_id, command.marks, command.place))
            other_ledger.is_in_charge = True
            other.webhooks.run()
            return other.events

        return take_over

    def test_only_the_one_in_charge_sends(self, receiver, other, happen):
        happen(7, Occupied("1", "a"))
        receiver.webhooks.run()
        other.webhooks._is_stopping = True
        other.webhooks.run()
        assert (receiver.events, other.events) == ([occupied("a")], [])

    def test_what_was_sent_is_not_sent_by_whoever_takes_over(self, receiver, happen, take_over):
        happen(7, Occupied("1", "a"), Occupied("1", "b"))
        receiver.webhooks.run()
        happen(8, Occupied("1", "c"))
        assert take_over() == [occupied("c")]

    def test_what_one_process_alone_noticed_puts_nothing_out_of_step(self, receiver, ledger, happen, take_over):
        ledger.place = 7
        receiver.tell(CacheMissed("1", "cache-x"), Occupied("1", "only here"))
        happen(7, *leave("b"), Disconnected("1", "1.1"), Occupied("1", "a"))
        receiver.webhooks.wait(hooks.BATCH_WINDOW)
        receiver.webhooks._deliver(receiver.webhooks._take_batch())
        [tell] = ledger.told
        # What waits for a return is not told yet.
        assert (tell.app_id, len(tell.marks), tell.place) == ("1", 3, 7)
        assert take_over() == [vacated("b")]

    def test_whoever_takes_over_does_not_send_what_only_it_noticed_before(self, receiver, other, happen, take_over):
        happen(6)
        other.tell(Occupied("1", "once known to others"))
        happen(7, Occupied("1", "a"))
        receiver.webhooks.run()
        assert take_over() == []

    def test_the_last_thing_told_settles_all_before(self, receiver, ledger, happen):
        happen(7, Occupied("1", "a"))
        receiver.webhooks.run()
        assert [(tell.app_id, tell.place) for tell in ledger.told] == [("1", 8)]
        assert isinstance(ledger.told[0], Tell)

    def test_without_a_place_what_the_state_tells_is_left_to_the_one_in_charge(self, receiver, other, happen):
        event = ClientEvent("1", "private-a", "client-e", "1", "1.1", None)
        happen(None, Occupied("1", "a"), MemberAdded("1", "presence-a", "7"), event)
        receiver.webhooks.run()
        other.webhooks.run()
        assert [event["name"] for event in receiver.events] == ["channel_occupied", "member_added", "client_event"]
        assert [event["name"] for event in other.events] == ["client_event"]

    def test_counts_are_those_of_the_one_in_charge(self, receiver, happen, take_over):
        happen(7, CountChanged("1", "a", 2))
        receiver.webhooks.run()
        assert [event["name"] for event in receiver.events] == ["subscription_count"]
        assert take_over() == []

    def test_as_long_as_something_waits_it_looks_whether_it_falls_to_it(self, other, other_ledger, happen):
        happen(7, *leave("b"), Disconnected("1", "1.1"))
        wait = other.wait

        def wait_and_take_over(seconds):
            wait(seconds)
            other_ledger.is_in_charge = len(other.waits) > 4

        other.webhooks.wait = wait_and_take_over
        other.webhooks.run()
        assert other.waits[:5] == [1.0] * 5
        assert other.events == [vacated("b")]


class Stub:
    """A receiver that keeps what it is sent and answers as it is told."""

    def __init__(self):
        self.requests = []
        self.connections = set()
        self.answer = (200, b"OK", {})
        self.arrived = threading.Condition()
        self.may_answer = threading.Event()
        self.may_answer.set()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with stub.arrived:
                    stub.connections.add(self.client_address)
                    stub.requests.append((self.path, dict(self.headers), body))
                    stub.arrived.notify_all()
                stub.may_answer.wait(20)
                status, text, headers = stub.answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(text))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks?token=7"

    def wait_for(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 20)
        return self.requests


@pytest.fixture
def stub():
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,))
    thread.start()
    yield stub
    stub.may_answer.set()
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


class TestMakeSender:
    def test_requests_share_a_connection(self, stub):
        send = make_sender(stub.url)
        assert [send(b"one", {"X-Pusher-Key": "k"}), send(b"two", {})] == [200, 200]
        assert [(path, body) for path, _, body in stub.requests] == [
            ("/hooks?token=7", b"one"),
            ("/hooks?token=7", b"two"),
        ]
        assert stub.requests[0][1]["X-Pusher-Key"] == "k"
        assert len(stub.connections) == 1

    def test_an_answer_that_is_too_long_is_not_read_to_its_end(self, stub):
        stub.answer = (200, b"x" * (hooks._MAX_ANSWER + 2), {})
        send = make_sender(stub.url)
        assert [send(b"one", {}), send(b"two", {})] == [200, 200]
        assert len(stub.connections) == 2

    def test_a_redirect_is_not_followed(self, stub):
        stub.answer = (307, b"", {"Location": stub.url})
        assert make_sender(stub.url)(b"{}", {}) == 307
        assert len(stub.requests) == 1

    def test_nobody_there_is_an_error_that_says_so_and_not_the_whole_address(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/hooks?token=7"
        with pytest.raises(NotSent, match="Connection refused") as caught:
            make_sender(url)(b"{}", {})
        assert "token" not in str(caught.value)

    def test_no_answer_in_time_is_an_error(self, stub, monkeypatch):
        monkeypatch.setattr(hooks, "TIMEOUT", 0.1)
        stub.may_answer.clear()
        with pytest.raises(NotSent, match="Read timed out"):
            make_sender(stub.url)(b"{}", {})

    def test_a_certificate_nobody_trusts_is_an_error(self, stub, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        stub.server.socket = context.wrap_socket(stub.server.socket, server_side=True)
        url = stub.url.replace("http:", "https:")
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            make_sender(url)(b"{}", {})
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        assert make_sender(url, tls=trusting)(b"{}", {}) == 200


class TestThread:
    """With a real receiver, a real clock, and the real client's check."""

    @pytest.fixture
    def webhooks(self, stub):
        webhooks = Webhooks(APP, make_sender(stub.url))
        webhooks.start()
        yield webhooks
        webhooks.stop()

    def test_the_pusher_package_accepts_what_arrives(self, stub, webhooks):
        """C.7, C.8"""
        webhooks.observe(Occupied("1", "a"))
        webhooks.observe(ClientEvent("1", "private-a", "client-hi", '"\ud800é"', "1.1"))
        [(_, headers, body)] = stub.wait_for(1)
        assert headers["Content-Type"] == "application/json"
        webhook = Pusher("1", APP.key, APP.secret).validate_webhook(
            headers["X-Pusher-Key"], headers["X-Pusher-Signature"], body.decode()
        )
        assert [event["name"] for event in webhook["events"]] == ["channel_occupied", "client_event"]

    def test_a_stop_sends_what_waits(self, stub, webhooks):
        """C.4, C.5: nobody is left to tell later of those who do not come back."""
        for fact in [Occupied("1", "a"), *leave("b"), Disconnected("1", "1.1")]:
            webhooks.observe(fact)
        webhooks.stop(timeout=20)
        assert [json.loads(body)["events"] for _, _, body in stub.requests] == [[occupied(), vacated("b")]]
        assert webhooks.sent == 1

    def test_a_stop_does_not_wait_for_ever(self, stub, webhooks, caplog):
        stub.may_answer.clear()
        webhooks.observe(Occupied("1", "a"))
        stub.wait_for(1)
        webhooks.observe(Occupied("1", "b"))
        webhooks.stop(timeout=0.01)
        assert caplog.messages == ["The server stops, and 1 webhook events were not sent."]
