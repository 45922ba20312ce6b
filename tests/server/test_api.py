import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pusherable.server.api import create_api
from pusherable.server.asgi import answer_without_prefix
from pusherable.server.config import Limits, ServerConfig
from pusherable.server.credentials import Member
from pusherable.server.facts import Rejected
from pusherable.server.hub import Hub
from pusherable.signing import body_md5, request_parameters
from tests.server.conftest import APP, RecordingClient, ask, make_user
from tests.server.signing_client import NOW, SigningClient, answer

TOO_LARGE = (
    "The data content of this event exceeds the allowed maximum (10240 bytes). "
    "See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info\n"
)


@pytest.fixture
def api(hub):
    return SigningClient(hub)


@pytest.fixture
def listen(hub):
    def listen(*channels):
        client = RecordingClient()
        client.connection = hub.connect(APP, client)
        for channel in channels:
            hub.subscribe(client.connection, channel)
        client.take()
        return client

    return listen


@pytest.fixture
def attend(hub):
    """A connection for each user, in one presence channel."""

    def attend(channel, *user_ids):
        for user_id in user_ids:
            hub.subscribe(hub.connect(APP, RecordingClient()), channel, Member(user_id))

    return attend


class TestEvents:
    def test_an_event_reaches_the_subscribers(self, api, listen):
        """B.12, B.15"""
        client = listen("a", "b")
        assert answer(api.publish(channels=["a", "b"], data='{"x":"é"}')) == (200, "{}")
        assert client.received == [
            {"event": "view", "channel": "a", "data": '{"x":"é"}'},
            {"event": "view", "channel": "b", "data": '{"x":"é"}'},
        ]

    def test_one_channel_may_be_named_by_itself(self, api, listen):
        """B.12"""
        client = listen("a")
        assert answer(api.publish(channels=None, channel="a")) == (200, "{}")
        assert len(client.received) == 1

    def test_a_connection_is_left_out(self, api, listen):
        """B.15"""
        first, second = listen("a"), listen("a")
        api.publish(socket_id=first.connection.socket_id)
        assert (len(first.received), len(second.received)) == (0, 1)

    def test_an_unknown_socket_id_is_no_error(self, api, listen):
        """B.15"""
        client = listen("a")
        assert answer(api.publish(socket_id="1.1")) == (200, "{}")
        assert len(client.received) == 1

    @pytest.mark.parametrize("data", ["", "plain", "null", '"', "\ud800", "\u2028</script>"])
    def test_any_text_is_passed_on_as_it_is(self, api, listen, data):
        """B.14, B.15"""
        client = listen("a")
        assert answer(api.publish(data=data)) == (200, "{}")
        assert client.received == [{"event": "view", "channel": "a", "data": data}]

    @pytest.mark.parametrize(
        ("data", "text"), [({"a": ["é", 1]}, '{"a":["é",1]}'), (None, "null"), (1, "1"), ([], "[]")]
    )
    def test_other_data_is_encoded(self, api, listen, data, text):
        """B.14"""
        client = listen("a")
        api.publish(data=data)
        assert client.received == [{"event": "view", "channel": "a", "data": text}]

    def test_the_largest_data_is_accepted(self, api):
        """B.14"""
        assert answer(api.publish(data="é" * 5_120)) == (200, "{}")

    def test_a_byte_more_is_refused(self, api, listen):
        """B.14"""
        client = listen("a")
        assert answer(api.publish(data="é" * 5_120 + "x")) == (413, TOO_LARGE)
        assert client.received == []

    @pytest.mark.parametrize("user_id", ["7", "a b/é", "x" * 128])
    def test_a_user_is_a_channel_of_its_own(self, api, listen, user_id):
        """A.49, B.16"""
        client = listen(f"#server-to-user-{user_id}")
        assert answer(api.publish(channels=[f"#server-to-user-{user_id}"])) == (200, "{}")
        assert client.received == [{"event": "view", "channel": f"#server-to-user-{user_id}", "data": "{}"}]

    @pytest.mark.parametrize("name", ["x" * 200, "client-x", " "])
    def test_unusual_names_are_accepted(self, api, name):
        assert answer(api.publish(name=name)) == (200, "{}")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            # B.13
            ({"name": None}, "Expected name parameter to be a string"),
            ({"name": 1}, "Expected name parameter to be a string"),
            ({"name": ""}, "An event's name is a text that is not empty, not ''."),
            ({"name": "x" * 201}, f"The event name {'x' * 40!r}… has 201 characters; 200 is the limit."),
            ({"channels": []}, "Expected channels parameter to be an array of strings that is not empty"),
            ({"channels": "a"}, "Expected channels parameter to be an array of strings that is not empty"),
            ({"channels": ["a"] * 101}, "An event names 100 channels at most"),
            ({"channels": None}, "A channel's name is text"),
            ({"channels": [1]}, "A channel's name is text"),
            (
                {"channels": ["a", "b c"]},
                "'b c' is no channel name: only letters, digits and _ - = @ , . ; are allowed, "
                "and at least one of them.",
            ),
            (
                {"channels": ["x" * 165]},
                f"The channel name {'x' * 40!r}… has 165 characters; 164 is the limit.",
            ),
            ({"channels": ["#server-to-user-"]}, "A user's id has 1 to 128 characters"),
            ({"channels": ["#server-to-user-" + "x" * 129]}, "A user's id has 1 to 128 characters"),
            ({"socket_id": "1"}, 'Invalid socket_id: "1"'),
            ({"socket_id": 1.5}, "Expected socket_id parameter to be a string"),
            ({"socket_id": ""}, 'Invalid socket_id: ""'),
            ({"info": ["subscription_count"]}, "Expected info parameter to be a string"),
            # B.16
            (
                {"name": "pusher:error"},
                "The event name 'pusher:error' is reserved: 'pusher:' and 'pusher_internal:' are Pusher's own.",
            ),
        ],
    )
    def test_a_faulty_event_is_refused(self, api, listen, content, message):
        client = listen("a")
        assert answer(api.publish(**content)) == (400, f"{message}\n")
        assert client.received == []

    def test_data_is_needed(self, api):
        response = api.post("/apps/1/events", {"name": "view", "channel": "a"})
        assert answer(response) == (400, "Expected data parameter to be a string\n")

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            # B.13
            (b"", "The body is not JSON in UTF-8"),
            (b"{", "The body is not JSON in UTF-8"),
            (b'{"name":"\xff"}', "The body is not JSON in UTF-8"),
            (b'{"data":NaN}', "The body is not JSON in UTF-8"),
            (b'{"data":-Infinity}', "The body is not JSON in UTF-8"),
            (b"[" * 500_000, "The body is not JSON in UTF-8"),
            (b'{"data":' + b"9" * 10_000 + b"}", "The body is not JSON in UTF-8"),
            (b"[]", "The body is not a JSON object"),
            (b"null", "The body is not a JSON object"),
        ],
    )
    def test_a_body_that_is_no_object_is_refused(self, api, body, message):
        assert answer(api.post("/apps/1/events", body)) == (400, f"{message}\n")

    def test_observers_hear_of_what_is_refused(self, api, facts):
        api.publish(name=1)
        assert facts == [Rejected("POST /apps/1/events", 400, "Expected name parameter to be a string")]

    def test_the_limits_are_those_configured(self):
        limits = Limits(channel_length=3, event_name_length=4, event_data_size=5, channels_per_event=1)
        api = SigningClient(Hub(ServerConfig(apps=(APP,), limits=limits)))
        assert api.publish(channels=["abc"], data="12345").status_code == 200
        assert api.publish(channels=["abcd"]).status_code == 400
        assert api.publish(channels=["a", "b"]).status_code == 400
        assert api.publish(name="views").status_code == 400
        assert api.publish(data="123456").status_code == 413


class TestIds:
    """A publisher that tries again says so by the ids of its events, which the hosted service passes over."""

    def publish(self, api, *items, ids):
        batch = [{"name": "view", "channel": "a", "data": "{}"} | item for item in items]
        body = json.dumps({"batch": batch} if len(batch) > 1 else batch[0]).encode()
        path = "/apps/1/batch_events" if len(batch) > 1 else "/apps/1/events"
        parameters = request_parameters(
            "POST", path, key=APP.key, secret=APP.secret, timestamp=NOW, body=body, query=None
        )
        headers = {"X-Pusherable-Event-Ids": ids}
        return answer(api.http("POST", path, params=parameters, content=body, headers=headers))

    def test_an_event_that_comes_again_is_sent_once(self, api, listen):
        client = listen("a")
        for data in ("1", "1", "2"):
            assert self.publish(api, {"data": data}, ids=f"x-{data}") == (200, "{}")
        assert [message["data"] for message in client.take()] == ["1", "2"]

    def test_a_batch_may_hold_both(self, api, listen):
        client = listen("a")
        self.publish(api, {"data": "1"}, ids="x-1")
        assert self.publish(api, {"data": "1"}, {"data": "2"}, ids="x-1,x-2") == (200, "{}")
        assert [message["data"] for message in client.take()] == ["1", "2"]

    def test_without_ids_the_same_event_may_come_as_often_as_it_likes(self, api, listen):
        client = listen("a")
        for _ in range(2):
            api.publish()
        assert len(client.take()) == 2

    @pytest.mark.parametrize("ids", ["", "a,b", "é", "a b", "x" * 65])
    def test_malformed_ones_are_refused(self, api, listen, ids):
        client = listen("a")
        status, text = self.publish(api, {}, ids=ids)
        assert (status, text.partition(" is ")[0]) == (400, "X-Pusherable-Event-Ids")
        assert client.take() == []


class TestInfo:
    """B.17"""

    def test_the_attributes_asked_for_are_answered(self, api, listen):
        listen("a")
        listen("a")
        response = api.publish(channels=["a", "b", "a"], info="subscription_count,user_count")
        assert response.json() == {"channels": {"a": {"subscription_count": 2}, "b": {"subscription_count": 0}}}

    def test_attributes_that_do_not_apply_are_left_out(self, api):
        assert api.publish(info="user_count").json() == {"channels": {"a": {}}}

    def test_users_of_presence_channels_are_counted(self, api, attend):
        attend("presence-a", "1", "1", "2")
        response = api.publish(channels=["presence-a", "presence-b", "a"], info="user_count,subscription_count")
        assert response.json() == {
            "channels": {
                "presence-a": {"user_count": 2, "subscription_count": 3},
                "presence-b": {"user_count": 0, "subscription_count": 0},
                "a": {"subscription_count": 0},
            }
        }

    def test_no_attributes_are_none(self, api):
        assert api.publish(info="").json() == {"channels": {"a": {}}}


class TestBatchEvents:
    """B.18"""

    def test_all_events_reach_their_subscribers_in_order(self, api, listen):
        client = listen("a", "b")
        response = api.publish_batch({"data": "1"}, {"channel": "b", "data": "2"}, {"name": "update", "data": "3"})
        assert answer(response) == (200, "{}")
        assert client.received == [
            {"event": "view", "channel": "a", "data": "1"},
            {"event": "view", "channel": "b", "data": "2"},
            {"event": "update", "channel": "a", "data": "3"},
        ]

    def test_a_connection_is_left_out_of_the_events_that_name_it(self, api, listen):
        client = listen("a")
        api.publish_batch({"socket_id": client.connection.socket_id}, {})
        assert len(client.received) == 1

    def test_info_is_answered_in_the_order_of_the_events(self, api, listen):
        listen("a")
        response = api.publish_batch({"info": "subscription_count"}, {"channel": "b"})
        assert response.json() == {"batch": [{"subscription_count": 1}, {}]}

    @pytest.mark.parametrize(
        ("item", "status", "message"),
        [
            ({"name": None}, 400, "Expected name parameter to be a string\n"),
            ({"channel": ["a"]}, 400, "A channel's name is text\n"),
            ({"channel": None, "channels": ["a"]}, 400, "A channel's name is text\n"),
            ({"data": "x" * 10_241}, 413, TOO_LARGE),
        ],
    )
    def test_one_faulty_event_holds_up_all(self, api, listen, item, status, message):
        client = listen("a")
        assert answer(api.publish_batch({}, item)) == (status, message)
        assert client.received == []

    def test_an_event_that_is_no_object_is_refused(self, api):
        response = api.post("/apps/1/batch_events", {"batch": ["a"]})
        assert answer(response) == (400, "Expected an event to be an object\n")

    @pytest.mark.parametrize("content", [{}, {"batch": []}, {"batch": {}}, {"batch": "x"}])
    def test_a_batch_without_events_is_refused(self, api, content):
        response = api.post("/apps/1/batch_events", content)
        assert answer(response) == (400, "Expected batch parameter to be an array of events that is not empty\n")

    def test_a_batch_of_more_than_ten_is_refused(self, api):
        """Clients of the hosted service look for the first three words."""
        response = api.post("/apps/1/batch_events", {"batch": [{}] * 11})
        assert answer(response) == (400, "Batch too large (11 > 10)\n")

    def test_the_fullest_batch_fits(self, api):
        full = {"data": "\x00" * 10_240, "channel": "x" * 164, "name": "x" * 200}
        assert answer(api.publish_batch(*[full] * 10)) == (200, "{}")


class TestChannels:
    """B.19"""

    def test_occupied_channels_are_listed(self, api, listen):
        listen("a", "b")
        assert api.get("/apps/1/channels").json() == {"channels": {"a": {}, "b": {}}}

    def test_none_is_an_empty_object(self, api):
        assert answer(api.get("/apps/1/channels")) == (200, '{"channels":{}}')

    def test_a_prefix_and_info_are_heeded(self, api, listen):
        listen("post_1", "comment_1")
        response = api.get("/apps/1/channels", filter_by_prefix="post_", info="subscription_count")
        assert response.json() == {"channels": {"post_1": {"subscription_count": 1}}}

    def test_user_counts_need_a_prefix_of_presence(self, api):
        assert answer(api.get("/apps/1/channels", info="user_count")) == (
            400,
            "user_count may only be requested for presence channels - "
            "please supply filter_by_prefix beginning with presence-\n",
        )

    def test_user_counts_with_a_prefix_of_presence_are_answered(self, api, attend):
        attend("presence-a", "1", "2")
        response = api.get("/apps/1/channels", info="user_count", filter_by_prefix="presence-")
        assert answer(response) == (200, '{"channels":{"presence-a":{"user_count":2}}}')


class TestChannel:
    """B.20"""

    def test_an_occupied_channel_is_described(self, api, listen):
        listen("a")
        response = api.get("/apps/1/channels/a", info="subscription_count")
        assert response.json() == {"occupied": True, "subscription_count": 1}

    def test_a_channel_never_seen_is_not_occupied(self, api):
        response = api.get("/apps/1/channels/a", info="subscription_count")
        assert response.json() == {"occupied": False, "subscription_count": 0}

    def test_a_faulty_name_is_refused(self, api):
        assert api.get("/apps/1/channels/b c").status_code == 400

    def test_user_counts_are_for_presence_channels(self, api):
        assert answer(api.get("/apps/1/channels/a", info="user_count")) == (
            400,
            "user_count may only be requested for presence channels\n",
        )

    def test_a_presence_channel_is_described(self, api, attend):
        attend("presence-a", "1", "1")
        response = api.get("/apps/1/channels/presence-a", info="user_count,subscription_count")
        assert response.json() == {"occupied": True, "user_count": 1, "subscription_count": 2}

    def test_an_empty_presence_channel_is_described(self, api):
        response = api.get("/apps/1/channels/presence-a", info="user_count")
        assert response.json() == {"occupied": False, "user_count": 0}

    def test_a_cache_channel_tells_what_it_remembers(self, api, clock):
        api.publish(channels=["cache-a"], data='{"x":1}')
        clock.advance(0.5)
        response = api.get("/apps/1/channels/cache-a", info="cache")
        assert response.json() == {"occupied": False, "cache": {"data": '{"x":1}', "ttl": 1_799}}

    def test_a_cache_channel_that_remembers_nothing_says_so(self, api):
        assert api.get("/apps/1/channels/cache-a", info="cache").json() == {"occupied": False, "cache": None}

    def test_other_channels_have_no_cache(self, api):
        assert api.get("/apps/1/channels/a", info="cache").json() == {"occupied": False}


class TestUsers:
    """B.21"""

    def test_every_user_is_given_once(self, api, attend):
        attend("presence-a", "1", "b", "1")
        assert answer(api.get("/apps/1/channels/presence-a/users")) == (200, '{"users":[{"id":"1"},{"id":"b"}]}')

    def test_an_empty_channel_has_none(self, api):
        assert answer(api.get("/apps/1/channels/presence-a/users")) == (200, '{"users":[]}')

    def test_a_user_whose_id_has_no_form_in_utf_8_is_an_escape(self, api, attend):
        attend("presence-a", "\ud800")
        assert answer(api.get("/apps/1/channels/presence-a/users")) == (200, '{"users":[{"id":"\\ud800"}]}')

    def test_a_get_may_carry_the_digest_of_nothing(self, api):
        """B.6"""
        response = api.get("/apps/1/channels/presence-a/users", body_md5=body_md5(b""))
        assert answer(response) == (200, '{"users":[]}')

    @pytest.mark.parametrize("channel", ["a", "private-a", "presence"])
    def test_other_channels_are_refused(self, api, channel):
        assert answer(api.get(f"/apps/1/channels/{channel}/users")) == (
            400,
            "Users can only be retrieved for presence channels\n",
        )

    def test_other_parameters_are_refused(self, api):
        assert answer(api.get("/apps/1/channels/presence-a/users", info="user_count", x="")) == (
            400,
            "The following query string parameters are extraneous: info, x\n",
        )


class TestTerminateConnections:
    """B.22"""

    @pytest.mark.parametrize("prefix", ["/apps/1", ""])
    @pytest.mark.parametrize("user_id", ["7", "a b", "a/b@c", "é"])
    def test_a_user_is_sent_away(self, api, hub, listen, prefix, user_id):
        """A.53, B.2"""
        client, other = listen(), listen()
        hub.sign_in(client.connection, make_user(user_id))
        hub.sign_in(other.connection, make_user("other"))
        assert answer(api.post(f"{prefix}/users/{user_id}/terminate_connections", {})) == (200, "{}")
        assert ([refusal.code for refusal in client.dismissals], other.dismissals) == ([4009], [])

    def test_neither_a_body_nor_a_user_is_needed(self, api):
        response = api.post("/apps/1/users/nobody/terminate_connections", b"")
        assert answer(response) == (200, "{}")

    def test_a_signature_is(self, api):
        for prefix in ("/apps/1", ""):
            path = f"{prefix}/users/7/terminate_connections"
            response = api.request("POST", path, auth_signature="0" * 64)
            assert (response.status_code, response.text[:18]) == (401, "Invalid signature:")

    @pytest.mark.parametrize("changes", [{"auth_key": "other"}, {"auth_key": None}])
    def test_without_an_app_in_the_path_the_key_finds_it(self, api, changes):
        """B.2"""
        response = api.request("POST", "/users/7/terminate_connections", **changes)
        assert answer(response) == (401, "No app has this key\n")


class TestUnknownAddresses:
    """B.1"""

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("GET", "/apps/1"),
            ("GET", "/apps/1/events"),
            ("POST", "/apps/1/channels"),
            ("POST", "/apps/1/events/"),
            ("POST", "//apps/1/events"),
            ("GET", "/apps/1/channels/a/b/c"),
            ("DELETE", "/apps/1/channels/a"),
            ("GET", "/apps/1/users/7/terminate_connections"),
            # B.23
            ("POST", "/apps/1/channels/a/events"),
            ("GET", "/apps/1/channels/a/stats"),
        ],
    )
    def test_are_not_found(self, api, method, path):
        """B.11"""
        assert answer(api.http(method, path)) == (404, "404 NOT FOUND\n")


class TestHostileRequests:
    @settings(max_examples=50, deadline=None)
    @given(
        st.binary(max_size=200)
        | st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=20),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["name", "data", "channel", "channels", "socket_id", "info", "batch"]), inner
                )
            ),
            max_leaves=20,
        ),
        st.sampled_from(["/apps/1/events", "/apps/1/batch_events"]),
    )
    def test_any_body_is_answered(self, body, path):
        api = SigningClient(Hub(ServerConfig(apps=(APP,))))
        assert api.post(path, body).status_code in (200, 400, 413)

    @settings(max_examples=50, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["auth_key", "auth_timestamp", "auth_version", "auth_signature", "body_md5", "info"]),
            st.text(max_size=20),
        )
    )
    def test_any_query_is_answered(self, query):
        api = SigningClient(Hub(ServerConfig(apps=(APP,))))
        assert api.http("GET", "/apps/1/channels", params=query).status_code == 401


class TestShortcut:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b'{"name":"view","channel":"a","data":"{}"}', 200),
            (b'{"name":"view","channels":["a"],"data":"{}","info":"subscription_count"}', 200),
            (b'{"name":"view","data":"{}"}', 400),
            (b"{", 400),
        ],
    )
    def test_the_answer_is_that_of_the_longer_way(self, body, status):
        facts = []
        api = create_api(Hub(ServerConfig(apps=(APP,), path="/push"), observers=[facts.append]), clock=lambda: NOW)
        # The shortcut is at the full address alone.
        answer_without_prefix(api, "/push")
        path = "/apps/1/events"
        parameters = request_parameters("POST", path, key=APP.key, secret=APP.secret, timestamp=NOW, body=body)
        quick, slow = (ask(api, "POST", each, params=parameters, content=body) for each in (f"/push{path}", path))
        assert (quick.status_code, quick.text, quick.headers) == (status, slow.text, slow.headers)
        assert slow.status_code == status
        rejected = [(fact.request, fact.reason) for fact in facts if isinstance(fact, Rejected)]
        assert len(rejected) == 2 * (status != 200)

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_other_methods_are_told_what_they_are_told_elsewhere(self, hub, method):
        api = create_api(hub, clock=lambda: NOW)
        shown = {
            (each.status_code, each.text)
            for path in ("events", "batch_events")
            for each in [ask(api, method, f"/apps/1/{path}")]
        }
        assert len(shown) == 1
