"""A proxy that takes turns: each connection goes to the next of its backends, with nothing sticky about it."""

import asyncio
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle

from pusherable.server.addresses import Address, address_of, listen

TIMEOUT = 20.0

# Bytes at a time; and in its sockets, for who reads slowly is to be slow for the backend too.
_PART = 65_536
_BUFFER = 16_384
# To close at once, by a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


class RoundRobinProxy:
    """Passes bytes, ends and resets on between clients and ``backends``, in a thread of its own; it keeps nothing."""

    def __init__(self, backends: Sequence[Address]) -> None:
        self._backends = cycle(backends)
        self._names: dict[tuple[str, int], tuple[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = listen(Address("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = address_of(self._socket)
        self._loop = asyncio.new_event_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.address.port

    def name_of(self, client: tuple[str, int]) -> tuple[str, int]:
        """From where a backend sees a client that has this address."""
        return self._names[client]

    def stop(self) -> None:
        """Cut everything off; a second time does nothing."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, self._socket:
            runner.run(asyncio.wait([self._accepting]))

    async def _accept(self) -> None:
        while True:
            client, name = await self._loop.sock_accept(self._socket)
            # Chosen here, where the order is that of the clients.
            task = self._loop.create_task(self._lead(client, name, next(self._backends)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lead(self, client: socket.socket, name: tuple[str, int], backend: Address) -> None:
        server = socket.socket()
        server.setblocking(False)
        with client, server:
            try:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                await self._loop.sock_connect(server, (backend.host, backend.port))
                self._names[name] = server.getsockname()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(client, server))
                    group.create_task(self._pass_on(server, client))
            except* OSError:
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    async def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        """All that comes, and then that nothing comes any more, while the other way stays open."""
        while part := await self._loop.sock_recv(source, _PART):
            await self._loop.sock_sendall(target, part)
        target.shutdown(socket.SHUT_WR)
