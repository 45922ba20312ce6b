"""Two processes' worth of one server: each in a thread of its own, a Redis between them, a proxy in front."""

import secrets
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from pusherable.server.commands import Tell
from pusherable.server.config import ServerConfig
from pusherable.server.redis_ledger import RedisLedger
from tests.server.proxies import RoundRobinProxy
from tests.server.threads import TIMEOUT, RunningServer, ThreadedServer
from tests.server.twins import knowledge_of


class ServerPair(RunningServer):
    """To a test the same as a ``ThreadedServer``. The proxy, which takes turns, is at its ``address``.

    ``facts`` are those of both. What a test publishes is published by one and the other in turn. What it calls is
    called in the thread of the first, once both have done all that was asked of either.
    """

    def __init__(self, config: ServerConfig, *, redis_url: str, **options: Any) -> None:
        super().__init__()
        prefix = secrets.token_hex(8)
        self._servers = [
            ThreadedServer(config, ledger=RedisLedger(redis_url, prefix=prefix), observe=self.note, **options)
            for _ in range(2)
        ]
        self._turns = cycle(self._servers)
        self._proxy = RoundRobinProxy([server.address for server in self._servers])
        self.address = self._proxy.address
        self.hub = self._servers[0].hub

    @property
    def threads(self) -> list[threading.Thread]:
        return [thread for server in self._servers for thread in server.threads]

    def name_of(self, client: tuple[str, int]) -> tuple[str, int]:
        return self._proxy.name_of(client)

    def stop(self) -> None:
        """Stop both, which have to know the same by then."""
        if all(thread.is_alive() for thread in self.threads):
            self._compare()
        for server in self._servers:
            server.request_stop()
        for server in self._servers:
            server.stop()
        self._proxy.stop()

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._settle()
        return self._servers[0].call(function, *args, **options)

    def publish(self, channel: str, name: str = "e", data: str = "{}") -> None:
        next(self._turns).publish(channel, name, data)

    def _compare(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            self._settle()
            first, second = (server.call(knowledge_of, server.hub) for server in self._servers)
            if first == second:
                return
            # Clients may be about to leave.
            assert time.monotonic() < deadline, (first, second)

    def _settle(self) -> None:
        """Wait until what was asked of either is done by both: nothing overtakes anything in the log."""
        for server in (*self._servers, self._servers[0]):
            ledger = server.hub.ledger
            server.call(ledger.enter, Tell(server.hub.config.apps[0].id, ()))
