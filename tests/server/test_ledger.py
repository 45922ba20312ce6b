import asyncio

import pytest

from pusherable.server.commands import Publish
from pusherable.server.hub import Hub
from pusherable.server.ledger import OwnLedger
from tests.server.conftest import APP


class TestOwnLedger:
    @pytest.fixture
    def hub(self, config):
        return Hub(config)

    def test_everything_is_done_as_it_is_entered(self, hub, client):
        connection = hub.connect(APP, client)
        hub.subscribe(connection, "a")
        client.take()
        assert hub.ledger.enter(Publish("1", ("a",), "e", "1")) is None
        assert client.take() == [{"event": "e", "channel": "a", "data": "1"}]

    def test_there_is_nobody_else(self, hub):
        ledger = hub.ledger
        assert isinstance(ledger, OwnLedger)
        assert (ledger.processes, ledger.is_alone, ledger.is_in_charge, ledger.place) == (1, False, True, None)

    def test_nothing_is_to_be_waited_for(self, hub):
        async def scenario():
            await hub.ledger.start()
            await hub.ledger.catch_up()
            hub.ledger.depart()
            hub.ledger.enter_soon(Publish("1", ("a",), "e", "1"))
            await hub.ledger.stop()

        asyncio.run(scenario())
