"""What only several processes can get wrong."""

import json
import logging
import threading

import pytest

from pusherable.server.config import ServerConfig
from pusherable.server.facts import Broadcast, Subscribed
from tests.server.conftest import APP
from tests.server.pairs import ServerPair

pytestmark = [pytest.mark.redis, pytest.mark.two_processes]

SUBSCRIBE = '{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}'


@pytest.fixture
def pair(redis):
    pair = ServerPair(ServerConfig(apps=(APP,)), redis_url=redis.url)
    yield pair
    pair.stop()


class TestFaults:
    def test_what_fails_at_another_process_takes_nothing_with_it(self, pair, caplog):
        _, elsewhere = pair.threads

        def fail(fact):
            if isinstance(fact, Broadcast) and fact.event == "1" and threading.current_thread() is elsewhere:
                raise RuntimeError("a fault of the server")

        pair.on_fact = fail
        with pair.connect(), pair.connect() as client:
            client.send(SUBSCRIBE)
            pair.wait_for(Subscribed)

            def publish_all():
                for name in "123":
                    outcome = pair.hub.publish(APP, channels=["a"], name=name, data="{}")
                return outcome

            pair.call(publish_all)
            heard = [json.loads(client.recv(timeout=20))["event"] for _ in range(5)]
        assert heard[2:] == ["1", "2", "3"]
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.message == "What another process did failed here. This is a fault of the server."
