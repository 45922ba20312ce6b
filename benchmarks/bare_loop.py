"""The least that an asyncio loop can do: it writes what is posted, as one frame, to every open WebSocket.

No names, no channels, no checks, no limits: the floor that ``fanout.py`` compares with.
"""

import asyncio
import base64
import hashlib

from measuring import content_length, listen

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

writers: dict["Bare", asyncio.Transport] = {}


class Bare(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def connection_lost(self, error):
        writers.pop(self, None)

    def data_received(self, data):
        if self in writers:
            return
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = content_length(head)
        if not end or len(body) < length:
            return
        self.received = body[length:]
        if head.startswith(b"POST"):
            broadcast(body[:length])
            self.transport.write(_ANSWER)
        else:
            self.upgrade(head)

    def upgrade(self, head):
        key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        writers[self] = self.transport


def broadcast(payload):
    length = len(payload)
    head = bytes([0x81, length]) if length < 126 else b"\x81\x7e" + length.to_bytes(2)
    frame = head + payload
    for transport in writers.values():
        transport.write(frame)


async def main():
    listener = listen()
    server = await asyncio.get_running_loop().create_server(Bare, sock=listener, backlog=2048)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
