import asyncio
import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pusherable.server.api import create_api
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.hub import Hub
from pusherable.signing import body_md5, request_message, request_parameters, sign
from tests.server.conftest import APP, RecordingClient, ask

NOW = 1_380_443_792  # 2013-09-29T08:36:32Z, the server's time in the hosted service's own example.
TOO_LARGE = (
    "The data content of this event exceeds the allowed maximum (10240 bytes). "
    "See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info\n"
)


class SigningClient:
    """What the app's own server does: signs its requests."""

    def __init__(self, hub):
        self.http = partial(ask, create_api(hub, clock=lambda: NOW + 0.5))

    def request(self, method, path, *, body=b"", query=None, timestamp=NOW, key=APP.key, secret=APP.secret, **changes):
        parameters = request_parameters(
            method, path, key=key, secret=secret, timestamp=timestamp, body=body, query=query
        )
        given = {name: value for name, value in (parameters | changes).items() if value is not None}
        return self.http(method, path, params=given, content=body)

    def post(self, path, content, **options):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request("POST", path, body=body, **options)

    def publish(self, **content):
        return self.post("/apps/1/events", {"name": "view", "channels": ["a"], "data": "{}"} | content)

    def publish_batch(self, *items):
        batch = [{"name": "view", "channel": "a", "data": "{}"} | item for item in items]
        return self.post("/apps/1/batch_events", {"batch": batch})

    def get(self, path, **query):
        return self.request("GET", path, query=query)


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


def answer(response):
    """Status and text, the type of which is checked on the way (B.11)."""
    expected = "application/json" if response.status_code == 200 else "text/plain; charset=utf-8"
    assert response.headers["content-type"] == expected
    return response.status_code, response.text


class TestSignature:
    def test_a_signed_request_is_accepted(self, api):
        assert answer(api.publish()) == (200, "{}")

    def test_the_documented_vector_is_accepted(self):
        """B.10"""
        app = App(id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8")
        http = partial(ask, create_api(Hub(ServerConfig(apps=(app,))), clock=lambda: 1353088179))
        response = http(
            "POST",
            "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
            "&body_md5=ec365a775a4cd0599faeb73354201b6f"
            "&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
            content=b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}',
        )
        assert answer(response) == (200, "{}")

    def test_the_order_of_parameters_does_not_matter(self, api):
        """B.4"""
        parameters = request_parameters("GET", "/apps/1/channels", key=APP.key, secret=APP.secret, timestamp=NOW)
        response = api.http("GET", "/apps/1/channels", params=dict(reversed(parameters.items())))
        assert answer(response) == (200, '{"channels":{}}')

    def test_names_of_parameters_are_lower_cased(self, api):
        """B.4"""
        assert answer(api.get("/apps/1/channels", Extra="1")) == (200, '{"channels":{}}')

    def test_escaped_values_are_signed_unescaped(self, api):
        """B.5"""
        assert answer(api.get("/apps/1/channels", filter_by_prefix="a=@,;. é")) == (200, '{"channels":{}}')

    def test_raw_punctuation_in_a_path_is_signed_as_it_is(self, api):
        """B.5"""
        assert answer(api.get("/apps/1/channels/a=@,;.b")) == (200, '{"occupied":false}')

    def test_a_path_prefix_is_not_signed(self):
        """B.4"""
        http = partial(ask, create_api(Hub(ServerConfig(apps=(APP,), path="/push")), clock=lambda: NOW))
        parameters = request_parameters("GET", "/apps/1/channels", key=APP.key, secret=APP.secret, timestamp=NOW)
        assert answer(http("GET", "/push/apps/1/channels", params=parameters)) == (200, '{"channels":{}}')
        assert answer(http("GET", "/apps/1/channels", params=parameters)) == (404, "404 NOT FOUND\n")

    def test_a_get_may_carry_the_digest_of_nothing(self, api):
        """B.6"""
        assert answer(api.get("/apps/1/channels", body_md5=body_md5(b""))) == (200, '{"channels":{}}')

    def test_a_forged_signature_is_refused(self, api):
        """B.9"""
        response = api.request("GET", "/apps/1/channels", auth_signature="0" * 64)
        assert answer(response) == (
            401,
            'Invalid signature: you should have sent HmacSHA256Hex("GET\\n/apps/1/channels\\n'
            f'auth_key=key&auth_timestamp={NOW}&auth_version=1.0", your_secret_key), '
            f'but you sent "{"0" * 64}"\n',
        )

    @pytest.mark.parametrize("secret", ["another", ""])
    def test_another_secret_is_refused_and_ours_not_told(self, api, secret):
        response = api.request("GET", "/apps/1/channels", secret=secret)
        assert response.status_code == 401
        assert APP.secret not in response.text

    def test_what_is_signed_cannot_be_changed(self, api):
        response = api.request("GET", "/apps/1/channels", query={"info": "subscription_count"}, info="")
        assert (response.status_code, response.text[:18]) == (401, "Invalid signature:")

    @pytest.mark.parametrize("name", ["auth_key", "auth_timestamp", "auth_version", "auth_signature"])
    def test_every_parameter_is_needed(self, api, name):
        """B.3"""
        response = api.request("GET", "/apps/1/channels", **{name: None})
        assert answer(response) == (401, f"Missing query parameters: {name}\n")

    def test_an_unknown_app_is_not_found(self, api):
        """B.9"""
        assert answer(api.get("/apps/7/channels")) == (404, "No app has the id 7\n")

    def test_another_key_is_refused(self, api):
        """B.9"""
        response = api.request("GET", "/apps/1/channels", key="other")
        assert answer(response) == (401, "The app 1 has no key other\n")

    def test_another_version_is_refused(self, api):
        """B.3"""
        response = api.request("GET", "/apps/1/channels", auth_version="2.0")
        assert answer(response) == (401, "Version 2.0 of signatures is unknown, 1.0 is known\n")

    def test_a_disabled_app_is_forbidden(self):
        """B.9"""
        app = App(id="1", key=APP.key, secret=APP.secret, is_enabled=False)
        response = SigningClient(Hub(ServerConfig(apps=(app,)))).publish()
        assert answer(response) == (403, "The app is disabled\n")

    @pytest.mark.parametrize("digest", [None, "", "0" * 32])
    def test_a_body_without_its_digest_is_refused(self, api, digest):
        """B.7"""
        parameters = {
            "auth_key": APP.key,
            "auth_timestamp": str(NOW),
            "auth_version": "1.0",
            **({} if digest is None else {"body_md5": digest}),
        }
        message = request_message("POST", "/apps/1/events", parameters.items())
        parameters["auth_signature"] = sign(APP.secret, message)
        response = api.http("POST", "/apps/1/events", params=parameters, content=b"{}")
        assert answer(response) == (401, "body_md5 is missing, or is not the MD5 of the body\n")


class TestTimestamp:
    """B.8"""

    @pytest.mark.parametrize("distance", [-600, 0, 600])
    def test_ten_minutes_are_accepted(self, api, distance):
        assert api.request("GET", "/apps/1/channels", timestamp=NOW + distance).status_code == 200

    @pytest.mark.parametrize(("distance", "given"), [(-601, "2013-09-29T08:26:31Z"), (601, "2013-09-29T08:46:33Z")])
    def test_a_second_more_is_refused(self, api, distance, given):
        response = api.request("GET", "/apps/1/channels", timestamp=NOW + distance)
        assert answer(response) == (
            401,
            f"Timestamp expired: Given timestamp ({given}) not within 600s of server time (2013-09-29T08:36:32Z)\n",
        )

    @pytest.mark.parametrize("text", ["", "now", "-1", "1.5", "٣", "9" * 12, "9" * 5000])
    def test_what_is_no_time_is_refused(self, api, text):
        parameters = {"auth_key": APP.key, "auth_timestamp": text, "auth_version": "1.0"}
        message = request_message("GET", "/apps/1/channels", parameters.items())
        parameters["auth_signature"] = sign(APP.secret, message)
        response = api.http("GET", "/apps/1/channels", params=parameters)
        assert answer(response) == (401, f"auth_timestamp is in whole seconds since 1970, not {json.dumps(text)}\n")

    def test_the_furthest_time_is_refused(self, api):
        response = api.request("GET", "/apps/1/channels", timestamp=99_999_999_999)
        assert (response.status_code, response.text[:50]) == (
            401,
            "Timestamp expired: Given timestamp (5138-11-16T09:46:39Z)"[:50],
        )


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
            ({"channels": None}, "A channel's name is text, not None."),
            ({"channels": [1]}, "A channel's name is text, not 1."),
            (
                {"channels": ["a", "b c"]},
                "'b c' is no channel name: only letters, digits and _ - = @ , . ; are allowed, "
                "and at least one of them.",
            ),
            (
                {"channels": ["x" * 165]},
                f"The channel name {'x' * 40!r}… has 165 characters; 164 is the limit.",
            ),
            ({"socket_id": "1"}, 'Invalid socket_id: "1"'),
            ({"socket_id": 1.5}, "Invalid socket_id: 1.5"),
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

    def test_the_limits_are_those_configured(self):
        limits = Limits(channel_length=3, event_name_length=4, event_data_size=5, channels_per_event=1)
        api = SigningClient(Hub(ServerConfig(apps=(APP,), limits=limits)))
        assert api.publish(channels=["abc"], data="12345").status_code == 200
        assert api.publish(channels=["abcd"]).status_code == 400
        assert api.publish(channels=["a", "b"]).status_code == 400
        assert api.publish(name="views").status_code == 400
        assert api.publish(data="123456").status_code == 413

    def test_a_huge_request_is_refused(self):
        api = SigningClient(Hub(ServerConfig(apps=(APP,), limits=Limits(request_body_size=100))))
        response = api.post("/apps/1/events", b"x" * 101)
        assert answer(response) == (413, "The request is larger than 100 bytes\n")


class TestInfo:
    """B.17"""

    def test_the_attributes_asked_for_are_answered(self, api, listen):
        listen("a")
        listen("a")
        response = api.publish(channels=["a", "b", "a"], info="subscription_count,user_count")
        assert response.json() == {"channels": {"a": {"subscription_count": 2}, "b": {"subscription_count": 0}}}

    def test_attributes_that_do_not_apply_are_left_out(self, api):
        assert api.publish(info="user_count").json() == {"channels": {"a": {}}}

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
            ({"channel": ["a"]}, 400, "A channel's name is text, not ['a'].\n"),
            ({"channel": None, "channels": ["a"]}, 400, "A channel's name is text, not None.\n"),
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

    @pytest.mark.parametrize("content", [{}, {"batch": []}, {"batch": {}}, {"batch": [{}] * 11}])
    def test_a_batch_of_another_size_is_refused(self, api, content):
        response = api.post("/apps/1/batch_events", content)
        assert answer(response) == (400, "Expected batch parameter to be an array of 1 to 10 events\n")

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

    def test_user_counts_with_a_prefix_of_presence_are_answered(self, api):
        response = api.get("/apps/1/channels", info="user_count", filter_by_prefix="presence-")
        assert answer(response) == (200, '{"channels":{}}')


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

    def test_an_empty_presence_channel_is_described(self, api):
        assert api.get("/apps/1/channels/presence-a", info="user_count").json() == {"occupied": False}


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
        ],
    )
    def test_are_not_found(self, api, method, path):
        assert answer(api.http(method, path)) == (404, "404 NOT FOUND\n")


class TestIncompleteRequests:
    def ask(self, receive, **config):
        hub = Hub(ServerConfig(apps=(APP,), **config))
        parameters = request_parameters("POST", "/apps/1/events", key=APP.key, secret=APP.secret, timestamp=NOW)
        return answer(ask(create_api(hub), "POST", "/apps/1/events", params=parameters, receive=receive))

    def test_a_client_that_goes_away_is_no_fault_of_ours(self):
        async def receive():
            return {"type": "http.disconnect"}

        assert self.ask(receive) == (408, "The request is not complete\n")

    def test_a_body_that_never_comes_is_not_waited_for(self):
        async def receive():
            await asyncio.Event().wait()

        assert self.ask(receive, request_timeout=0.01) == (408, "The request is not complete\n")


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
