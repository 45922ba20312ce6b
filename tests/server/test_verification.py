import asyncio
import json
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from pusherable.server.api import create_api
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.hub import Hub
from pusherable.server.verification import read_query
from pusherable.signing import body_md5, request_message, request_parameters, sign
from tests.server.conftest import APP, ask
from tests.server.signing_client import NOW, SigningClient, answer


@pytest.fixture
def api(hub):
    return SigningClient(hub)


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


class TestHugeRequests:
    def test_a_body_over_the_limit_is_not_read_on(self):
        api = SigningClient(Hub(ServerConfig(apps=(APP,), limits=Limits(request_body_size=100))))
        response = api.post("/apps/1/events", b"x" * 101)
        assert answer(response) == (413, "The request is larger than 100 bytes\n")

    def test_a_stranger_s_body_is_not_read_at_all(self, api):
        async def receive():
            raise AssertionError("The body was asked for.")

        parameters = request_parameters("POST", "/apps/1/events", key=APP.key, secret="another", timestamp=NOW)
        response = api.http("POST", "/apps/1/events", params=parameters, receive=receive)
        assert (response.status_code, response.text[:18]) == (401, "Invalid signature:")


class TestIncompleteRequests:
    def ask(self, receive, **config):
        hub = Hub(ServerConfig(apps=(APP,), **config))
        parameters = request_parameters(
            "POST", "/apps/1/events", key=APP.key, secret=APP.secret, timestamp=int(time.time())
        )
        return answer(ask(create_api(hub), "POST", "/apps/1/events", params=parameters, receive=receive))

    def test_a_client_that_goes_away_is_no_fault_of_ours(self):
        async def receive():
            return {"type": "http.disconnect"}

        assert self.ask(receive) == (408, "The request is not complete\n")

    def test_a_body_that_never_comes_is_not_waited_for(self):
        async def receive():
            await asyncio.Event().wait()

        assert self.ask(receive, request_timeout=0.01) == (408, "The request is not complete\n")


class TestReadQuery:
    @pytest.mark.parametrize(
        ("query", "pairs"),
        [
            (b"", []),
            (b"a=1&b=2", [("a", "1"), ("b", "2")]),
            (b"&a&b=&=c&a=d=e&", [("a", ""), ("b", ""), ("", "c"), ("a", "d=e")]),
            (b"a=%C3%A9+%26", [("a", "é &")]),
            (b"a;b=\xff", [("a;b", "ÿ")]),
        ],
    )
    def test_pairs_are_read_in_their_order(self, query, pairs):
        assert read_query(query) == pairs

    @given(st.text(alphabet="ab=&;+%C3A9é", max_size=20))
    def test_starlette_would_read_the_same(self, text):
        query = text.encode("latin-1")
        assert read_query(query) == QueryParams(query).multi_items()
