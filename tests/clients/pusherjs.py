"""What pusher-js has to live through wherever it runs; a test module says how to open one, and inherits the rest."""

import time
from abc import ABC, abstractmethod
from typing import Any

import pytest

from tests.clients.conftest import Project, publishing_to, serving
from tests.clients.site import FORGER, KEY, STRANGER

#: Seconds until what never comes true fails.
PATIENCE = 20

SUCCEEDED = ["pusher:subscription_succeeded", {}]
SIGNED_IN = [["pusher:signin_success"], ["pusher_internal:subscription_succeeded"]]
ADA = {"count": 1, "members": {"ada": {"name": "Ada"}}, "me": "ada"}


class PusherJs(ABC):
    """One pusher-js, as ``driving.js`` drives it; each thing heard is a list, and begins with where it was heard."""

    @abstractmethod
    def do(self, name: str, *given: Any) -> Any:
        """Call a function of ``driving.js`` and give back its answer."""

    @abstractmethod
    def wait_for(self, *entry: Any) -> None:
        """Wait until ``entry`` has been heard."""

    @abstractmethod
    def wait_for_count(self, source: str, count: int) -> None:
        """Wait until ``count`` things have been heard at ``source``."""

    @abstractmethod
    def everything(self) -> list[list[Any]]:
        """All that has been heard, in order."""

    def heard(self, source: str) -> list[list[Any]]:
        return [rest for where, *rest in self.everything() if where == source]

    def subscribe(self, channel: str) -> None:
        self.do("subscribe", channel)
        self.wait_for(channel, *SUCCEEDED)

    def sign_in(self) -> None:
        self.do("signIn")
        self.wait_for("user", "pusher_internal:subscription_succeeded")

    def join(self, channel: str, members: dict[str, Any]) -> None:
        self.do("subscribe", channel)
        self.wait_for(channel, "pusher:subscription_succeeded", members)


class PusherJsContract:
    @pytest.fixture
    def connect(self, open_pusherjs, server, site):
        """Open one for a user, and wait until it is connected."""

        def connect(
            user: str = "ada", *, port: int = server.port, watchlist: str = "", activity_timeout: int = 120_000
        ) -> PusherJs:
            options = {
                "key": KEY,
                "port": port,
                "site": site.url,
                "user": user,
                "watchlist": watchlist,
                "activityTimeout": activity_timeout,
            }
            opened = open_pusherjs(options)
            opened.wait_for("state", "connected")
            return opened

        return connect

    @pytest.fixture
    def heard_on(self, pusher):
        """What was heard on a channel after its subscription; an event marks the end of it."""

        def heard_on(client: PusherJs, channel: str) -> list[list[Any]]:
            pusher.trigger(channel, "end", "of this")
            client.wait_for(channel, "end", "of this")
            _, *heard, _ = client.heard(channel)
            return heard

        return heard_on

    def test_public_channels(self, connect, pusher, heard_on):
        """A.6, A.17 to A.21, B.15"""
        one, other = connect(), connect()
        for client in (one, other):
            client.subscribe("news")
        pusher.trigger("news", "view", {"object": {"title": "“Ada” </script> \u2028"}})
        pusher.trigger(["news", "elsewhere"], "not-for-one", "text", one.do("socketId"))
        assert heard_on(one, "news") == [["view", {"object": {"title": "“Ada” </script> \u2028"}}]]
        assert heard_on(other, "news")[:2] == [
            ["view", {"object": {"title": "“Ada” </script> \u2028"}}],
            ["not-for-one", "text"],
        ]
        one.do("unsubscribe", "news")
        one.subscribe("a-later-one")
        pusher.trigger("news", "for-the-other", {})
        assert heard_on(one, "a-later-one") == []
        assert ["for-the-other", {}] not in one.heard("news")
        assert one.heard("error") == other.heard("error") == []

    def test_a_silent_connection_is_kept(self, connect):
        """A.13, A.16: pusher-js asks whether the server is there, and stays for the answer."""
        client = connect(activity_timeout=100)
        client.wait_for_count("pong", 3)
        assert client.heard("pong")[:3] == [[None], [None], [None]]
        assert client.heard("state") == [["connected"]]

    def test_private_channels_and_client_events(self, connect, heard_on):
        """A.25, A.37, A.38"""
        ada, grace = connect("ada"), connect("grace")
        for client in (ada, grace):
            client.subscribe("private-desk")
        assert ada.do("trigger", "private-desk", "client-hello", {"by": "ada"}) is True
        grace.wait_for("private-desk", "client-hello", {"by": "ada"}, None)
        assert heard_on(ada, "private-desk") == []

    def test_presence_of_a_user_with_two_tabs(self, connect, pusher, heard_on):
        """A.32 to A.34, A.39, B.20, B.21"""
        room = "presence-room"
        both = {"count": 2, "members": {"ada": {"name": "Ada"}, "grace": {"name": "Grace"}}}
        ada, grace = connect("ada"), connect("grace")
        ada.join(room, ADA)
        grace.join(room, {**both, "me": "grace"})
        ada.wait_for(room, "pusher:member_added", {"id": "grace", "info": {"name": "Grace"}})
        second = connect("grace")
        second.join(room, {**both, "me": "grace"})
        assert pusher.channel_info(room, ["user_count"]) == {"occupied": True, "user_count": 2}
        assert pusher.users_info(room) == {"users": [{"id": "ada"}, {"id": "grace"}]}

        second.do("trigger", room, "client-hello", {"by": "the second tab"})
        for client in (ada, grace):
            client.wait_for(room, "client-hello", {"by": "the second tab"}, "grace")
        second.do("unsubscribe", room)
        second.subscribe("something-else")
        assert heard_on(ada, room) == [
            ["pusher:member_added", {"id": "grace", "info": {"name": "Grace"}}],
            ["client-hello", {"by": "the second tab"}, "grace"],
        ]
        grace.do("disconnect")
        ada.wait_for(room, "pusher:member_removed", {"id": "grace", "info": {"name": "Grace"}})
        assert ada.do("members", room) == ADA

    def test_encrypted_channels(self, connect, pusher):
        """A.29"""
        client = connect()
        client.subscribe("private-encrypted-diary")
        pusher.trigger("private-encrypted-diary", "entry", {"text": "très secret"})
        client.wait_for("private-encrypted-diary", "entry", {"text": "très secret"})

    @pytest.mark.parametrize("prefix", ["cache-", "private-cache-", "private-encrypted-cache-"])
    def test_cache_channels(self, connect, pusher, prefix):
        """A.19, A.44"""
        channel = f"{prefix}{type(self).__name__}"
        early = connect()
        early.subscribe(channel)
        early.wait_for(channel, "pusher:cache_miss", None)
        pusher.trigger(channel, "score", {"goals": 1})
        pusher.trigger(channel, "score", {"goals": 2})
        early.wait_for(channel, "score", {"goals": 2})
        late = connect()
        late.subscribe(channel)
        late.wait_for(channel, "score", {"goals": 2})
        assert late.heard(channel) == [SUCCEEDED, ["score", {"goals": 2}]]
        assert early.heard(channel) == [
            SUCCEEDED,
            ["pusher:cache_miss", None],
            ["score", {"goals": 1}],
            ["score", {"goals": 2}],
        ]

    def test_presence_cache_channels(self, connect):
        """A.24, A.44"""
        channel = f"presence-cache-{type(self).__name__}"
        client = connect()
        client.join(channel, ADA)
        client.wait_for(channel, "pusher:cache_miss", None)

    def test_users_who_sign_in(self, connect, pusher):
        """A.46 to A.51, A.53"""
        ada = connect("ada", watchlist="grace alan")
        ada.do("signIn")
        ada.wait_for("watchlist", "offline", ["grace", "alan"])
        grace, second = connect("grace"), connect("grace")
        for client in (grace, second):
            client.sign_in()
        assert ada.heard("watchlist") == [["offline", ["grace", "alan"]], ["online", ["grace"]]]

        pusher.send_to_user("grace", "letter", {"from": "ada"})
        for client in (grace, second):
            client.wait_for("user", "letter", {"from": "ada"})
        assert ["letter", {"from": "ada"}] not in ada.heard("user")

        assert pusher.terminate_user_connections("grace") == {}
        for client in (grace, second):
            client.wait_for("state", "disconnected")
            assert client.heard("state") == [["connected"], ["disconnected"]]
            # Told of by the message, and again by pusher-js for the close.
            assert {tuple(error) for error in client.heard("error")} == {
                (4009, "The user's connections were terminated")
            }
        ada.wait_for("watchlist", "offline", ["grace"])
        assert ada.heard("state") == [["connected"]]

    def test_subscription_counts(self, connect, tmp_path, shared):
        """A.19, A.45"""
        with serving(Project(tmp_path, PUSHERABLE_SUBSCRIPTION_COUNTS=True), shared) as server:
            first, second = connect("ada", port=server.port), connect("grace", port=server.port)
            for channel in ("news", "private-desk", "cache-scores"):
                first.subscribe(channel)
                first.wait_for(channel, "pusher:subscription_count", {"subscription_count": 1})
                second.subscribe(channel)
                for client in (first, second):
                    client.wait_for(channel, "pusher:subscription_count", {"subscription_count": 2})
                second.do("disconnect" if channel == "cache-scores" else "unsubscribe", channel)
                first.wait_for_count(channel, 5 if channel == "cache-scores" else 4)
            expected = [
                SUCCEEDED,
                *(["pusher:subscription_count", {"subscription_count": count}] for count in (1, 2, 1)),
            ]
            assert first.heard("news") == first.heard("private-desk") == expected
            assert first.heard("cache-scores") == [SUCCEEDED, ["pusher:cache_miss", None], *expected[1:]]
            first.join("presence-room", ADA)
            first.subscribe("last")
            assert len(first.heard("presence-room")) == 1
            first.do("disconnect")

    def test_refusals(self, connect, open_pusherjs, server, site, pusher):
        """A.4, A.5, A.23, A.28, A.54, D.3"""
        stranger = connect(STRANGER)
        stranger.do("subscribe", "private-desk")
        stranger.do("subscribe", "no such name")
        stranger.do("signIn")
        stranger.wait_for_count("user", 1)
        for channel in ("private-desk", "no such name"):
            stranger.wait_for_count(channel, 1)
        [[event, refusal]] = stranger.heard("private-desk")
        assert (event, refusal["type"], refusal["status"]) == ("pusher:subscription_error", "AuthError", 403)
        [[event, refusal]] = stranger.heard("no such name")
        [[code, reason]] = stranger.heard("error")
        assert (event, refusal) == (
            "pusher:subscription_error",
            {"type": "InvalidChannel", "error": reason, "status": 400},
        )
        assert code is None
        [[event, refusal]] = stranger.heard("user")
        assert (event, refusal["type"], refusal["status"]) == ("pusher:signin_error", "AuthError", 403)
        stranger.subscribe("news")
        assert stranger.heard("state") == [["connected"]]

        lost = open_pusherjs({"key": "no-key", "port": server.port, "site": site.url, "user": "ada", "watchlist": ""})
        lost.wait_for("state", "disconnected")
        message = "App key no-key not in this cluster. Did you forget to specify the cluster?"
        assert {tuple(error) for error in lost.heard("error")} == {(4001, message)}

    def test_forged_signatures(self, connect, pusher):
        """A.26, A.28"""
        forger = connect(FORGER)
        forger.do("subscribe", "private-desk")
        forger.wait_for_count("private-desk", 1)
        [[code, reason]] = forger.heard("error")
        assert (code, reason.partition(": ")[0]) == (None, "Invalid signature")
        assert forger.heard("private-desk") == [
            ["pusher:subscription_error", {"type": "AuthError", "error": reason, "status": 401}]
        ]
        assert pusher.channel_info("private-desk") == {"occupied": False}

    def test_a_server_that_starts_anew(self, connect, project):
        """A.22, A.50, A.56"""
        with project.serve() as process, publishing_to(process) as pusher:
            client = connect("ada", port=process.port)
            client.subscribe("news")
            client.subscribe("private-desk")
            client.join("presence-room", ADA)
            client.sign_in()
            socket_id = client.do("socketId")
            project.change(process)
            began = time.monotonic()
            client.wait_for_count("state", 3)
            # About a second, and what the project takes to load. A door that had been closed meanwhile would cost 15.
            assert time.monotonic() - began < 13
            for source in ("presence-room", "news", "private-desk"):
                client.wait_for_count(source, 2)
            client.wait_for_count("user", 4)
            for channel in ("news", "private-desk"):
                assert client.heard(channel) == [SUCCEEDED, SUCCEEDED]
                pusher.trigger(channel, "view", {"is": "back"})
                client.wait_for(channel, "view", {"is": "back"})
            assert client.do("members", "presence-room") == ADA
            pusher.send_to_user("ada", "letter", {"from": "grace"})
            client.wait_for("user", "letter", {"from": "grace"})
            assert client.heard("user") == [*SIGNED_IN, *SIGNED_IN, ["letter", {"from": "grace"}]]
            assert client.do("socketId") != socket_id
            assert client.heard("state") == [["connected"], ["connecting"], ["connected"]]
            client.do("disconnect")
