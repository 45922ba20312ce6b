"""How many events a second the HTTP API takes: ``python benchmarks/api.py``, half a minute long.

Beside it, in turns and in the same run, a uvicorn app that does nothing but answer ``{}``. Both are given the same
signed requests, over several kept-alive connections, by another process.
"""

import argparse
import contextlib
import multiprocessing
import select
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection as Pipe

from measuring import (
    PATIENCE,
    HttpConnection,
    content_length,
    cpu_seconds,
    describe_machine,
    print_table,
    running,
    spread,
)
from peers import HERE, Contestant, Peer, await_port, run_ours, signed_request
from receivers import Door

OURS = "django-pusherable"
#: Requests that differ from each other, sent again and again: a signature is good for ten minutes.
REQUESTS = 100
WARM_UP = 0.3


@contextlib.contextmanager
def run_bare(parser: str) -> Iterator[Peer]:
    with running([sys.executable, str(HERE / "bare_app.py"), parser]) as (process, line):
        port = int(line)
        await_port(port)
        yield Peer(f"bare uvicorn, {parser}", (process.pid,), (Door(port, "/"),), signed_request)


class Load:
    """A process that keeps some connections busy for a time."""

    def __init__(self, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_load, args=(theirs, port, requests, connections, seconds), daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> tuple[int, float]:
        """How many answers came, in how many seconds."""
        try:
            if not self._pipe.poll(PATIENCE):
                raise TimeoutError("The load has not ended in time")
            return self._pipe.recv()
        finally:
            self._process.kill()
            self._process.join()


def _load(pipe: Pipe, port: int, requests: Sequence[bytes], connections: int, seconds: float) -> None:
    with HttpConnection(port) as connection:
        # What the answers look like: all of them have one length.
        connection.send(requests[0])
    epoll, clients = select.epoll(), {}
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients[client.fileno()] = client
        epoll.register(client.fileno(), select.EPOLLIN)
    received = dict.fromkeys(clients, b"")
    answers = 0
    for number, client in enumerate(clients.values()):
        client.sendall(requests[number % len(requests)])
    began = time.perf_counter()
    deadline = began + seconds
    while time.perf_counter() < deadline:
        for number, _ in epoll.poll(1.0):
            part = clients[number].recv(65536)
            received[number] += part
            if not part:
                raise ConnectionError(f"Closed after {received[number]!r}")
            head, end, body = received[number].partition(b"\r\n\r\n")
            if not end or len(body) < content_length(head):
                continue
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"Answered {head!r}: {body!r}")
            received[number] = b""
            answers += 1
            clients[number].sendall(requests[answers % len(requests)])
    pipe.send((answers, time.perf_counter() - began))


def measure(peer: Peer, *, connections: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and seconds of the server's CPU for each."""
    requests = [peer.make_request(f"{number:08d}".ljust(200, "x")) for number in range(REQUESTS)]
    (port,) = peer.ports
    Load(port, requests, connections=connections, seconds=WARM_UP).wait()
    before = cpu_seconds(*peer.pids)
    answers, took = Load(port, requests, connections=connections, seconds=seconds).wait()
    return answers / took, (cpu_seconds(*peer.pids) - before) / max(1, answers)


CONTESTANTS = (
    Contestant(OURS, run_ours),
    Contestant("bare uvicorn, httptools", lambda: run_bare("httptools")),
    Contestant("bare uvicorn, h11", lambda: run_bare("h11")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each server in each round")
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    print(f"{describe_machine()}\n")
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        peers = {contestant.name: stack.enter_context(contestant.start()) for contestant in CONTESTANTS}
        for turn in range(options.rounds):
            names = list(peers)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                rate, cost = measure(peers[name], connections=options.connections, seconds=options.seconds)
                rates.setdefault(name, []).append(rate)
                costs.setdefault(name, []).append(cost)
    print(
        f"HTTP API: signed events of 200 bytes, {options.connections} kept-alive connections, "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    rows = []
    for name in peers:
        rate, rates_between = spread(rates[name])
        cost, costs_between = spread(costs[name], 1e6)
        rows.append(
            [
                name,
                f"{float(rate):.0f}",
                "-".join(f"{float(edge):.0f}" for edge in rates_between.split("-")),
                f"{cost} µs",
                costs_between,
                f"{statistics.median(rates[OURS]) / statistics.median(rates[name]):.0%}",
                # The other way round, so that more is better in both.
                f"{statistics.median(costs[name]) / statistics.median(costs[OURS]):.0%}",
            ]
        )
    titles = ["server", "requests/s", "spread", "CPU each", "spread", "ours / it", "by CPU time"]
    print_table(titles, rows)


if __name__ == "__main__":
    main()
