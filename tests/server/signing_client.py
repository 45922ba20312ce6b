"""The app's own server, as far as the HTTP API sees it."""

import json
from itertools import cycle

from pusherable.server.api import create_api
from pusherable.signing import request_parameters
from tests.server.conftest import APP, ask
from tests.server.twins import Twins

NOW = 1_380_443_792  # 2013-09-29T08:36:32Z, the server's time in the hosted service's own example.


class SigningClient:
    """What the app's own server does: signs its requests, which two hubs that are one server answer in turn."""

    def __init__(self, hub):
        hubs = hub.hubs if isinstance(hub, Twins) else [hub]
        self._apis = cycle([create_api(each, clock=lambda: NOW + 0.5) for each in hubs])

    def http(self, *request, **options):
        return ask(next(self._apis), *request, **options)

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


def answer(response):
    """Status and text, the type of which is checked on the way (B.11)."""
    expected = "application/json" if response.status_code == 200 else "text/plain; charset=utf-8"
    assert response.headers["content-type"] == expected
    return response.status_code, response.text
