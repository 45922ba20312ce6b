"""A service far away: ``stub_service.py DELAY [STATUS]`` gives every request the same answer, after so many seconds.

``throughput.py`` and ``view_overhead.py`` start it as a process of its own, so that its work is not done under their
interpreter's lock. It prints its port.
"""

import asyncio
import sys

DELAY = float(sys.argv[1])
STATUS = sys.argv[2] if len(sys.argv) > 2 else "200"
ANSWER = f"HTTP/1.1 {STATUS} x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()


class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1])
        if len(body) >= length:
            self.received = body[length:]
            asyncio.get_running_loop().call_later(DELAY, self.transport.write, ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
