"""What it costs to tell many at once: ``python benchmarks/fanout.py [--parts fanout,…] [--kinds sockets,…]``.

Beside our server, in the same run and in turns: for WebSockets nginx with nchan, a bare asyncio loop, Django Channels
with its in-memory layer; for event streams nchan and django-eventstream; for two processes with Redis Channels again.
Every subscriber's bytes are checked. All of it on the loopback, some minutes long.
"""

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from measuring import (
    HttpConnection,
    cpu_seconds,
    describe_machine,
    print_table,
    raise_file_limit,
    resident_bytes,
    segments_sent,
    spread,
    user_and_system,
)
from peers import CONTESTANTS, KINDS, OURS, Peer, start_all
from receivers import Receivers, Report, receiving

Figure = TypeVar("Figure")

#: Events before each round that are not counted: imports, caches, the first growth of buffers.
WARM_UP = 5
#: Requests that are under way together, where the price of the bus is measured.
AT_ONCE = (1, 10)


def make_data(number: int, size: int) -> str:
    """Data of ``size`` bytes that differs from event to event."""
    return f"{number:08d}".ljust(size, "x")


def publish(peer: Peer, receivers: Receivers, count: int, size: int, *, one_by_one: bool = False) -> Report:
    """Publish one after the other as fast as the server answers, and see that all arrive.

    ``one_by_one`` waits until everybody has received an event before the next is published. Where a server has
    several processes, they take turns then; otherwise one of them is given all, so that their order is one.
    """
    data = [make_data(number, size) for number in range(count)]
    requests = [peer.make_request(each) for each in data]
    payloads = [peer.make_message(each) for each in data]
    receivers.begin(payloads[-1])
    with contextlib.ExitStack() as stack:
        ports = peer.ports if one_by_one else peer.ports[:1]
        connections = [stack.enter_context(HttpConnection(port)) for port in ports]
        for connection, request, payload in zip(itertools.cycle(connections), requests, payloads, strict=False):
            if one_by_one:
                receivers.expect(payload)
            connection.send(request)
            # After a loss nothing is waited for: it is told in the end.
            one_by_one = one_by_one and receivers.settle()
    return receivers.finish(payloads)


class Fanout:
    """CPU time of a server for each message that it delivers, while it is given one event after the other."""

    title = "one event after the other, each received by all before the next"
    one_by_one = True

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.costs: dict[str, list[float]] = {}
        self.system_shares: dict[str, list[float]] = {}
        self.segments: dict[str, list[float]] = {}
        self.bus_costs: dict[str, list[float]] = {}
        self.events: dict[str, int] = {}
        self.reports: dict[str, Report] = {}

    def run(self, peers: dict[str, Peer]) -> None:
        shares = {contestant.name: contestant.share for contestant in CONTESTANTS}
        for peer in rotate(list(peers.values()), self._options.rounds):
            if shares[peer.name] == 1:
                self._run_one(peer, self._options.events, warm_up=WARM_UP)
            elif peer.name not in self.costs:
                # A second round of it would tell nothing new, and take as long as all the others together.
                self._run_one(peer, max(5, round(self._options.events * shares[peer.name])), warm_up=1)

    def _run_one(self, peer: Peer, events: int, *, warm_up: int) -> None:
        bus = () if peer.bus is None else (peer.bus,)
        with receiving(peer.doors, self._options.subscribers) as receivers:
            publish(peer, receivers, warm_up, self._options.size)
            before, segments, times = cpu_seconds(*peer.pids), segments_sent(), user_and_system(*peer.pids)
            bus_before = cpu_seconds(*bus)
            report = publish(peer, receivers, events, self._options.size, one_by_one=self.one_by_one)
            used, bus_used = cpu_seconds(*peer.pids) - before, cpu_seconds(*bus) - bus_before
            segments = segments_sent() - segments
            user, system = (now - then for now, then in zip(user_and_system(*peer.pids), times, strict=True))
        delivered = max(1, report.delivered)
        self.costs.setdefault(peer.name, []).append(used / delivered)
        if bus:
            self.bus_costs.setdefault(peer.name, []).append(bus_used / delivered)
        self.segments.setdefault(peer.name, []).append(segments / delivered)
        self.system_shares.setdefault(peer.name, []).append(system / max(user + system, 0.01))
        self.events[peer.name] = self.events.get(peer.name, 0) + events
        self.reports[peer.name] = report + self.reports.get(peer.name, Report(0, 0, 0, 0))

    def print(self, missing: dict[str, str]) -> None:
        print(
            f"Fan-out, {self.title}: {self._options.subscribers} subscribers, events of {self._options.size} bytes, "
            f"up to {self._options.rounds} rounds of {self._options.events}; CPU time of the server's processes per "
            "delivered message"
        )
        titles = ["server", "median", "spread", "in kernel", "ours / it", "by round", "Redis", "segments"]
        print_table(
            [*titles, "events", "delivered", "lost"], [self._row(name) for name in self.costs] + not_run(missing)
        )

    def _row(self, name: str) -> list[str]:
        costs, report = self.costs[name], self.reports[name]
        return [
            name,
            *(f"{text} µs" for text in spread(costs, 1e6)),
            f"{statistics.median(self.system_shares[name]):.0%}",
            *self._compare(name),
            f"{statistics.median(self.bus_costs[name]) * 1e6:.2f} µs" if name in self.bus_costs else "",
            f"{statistics.median(self.segments[name]):.2f}",
            str(self.events[name]),
            str(report.delivered),
            str(report.lost),
        ]

    def _compare(self, name: str) -> tuple[str, str]:
        """Ours of the same kind divided by it: the medians, and the least and the greatest of the rounds."""
        ours, costs = ours_beside(self.costs, name), self.costs[name]
        if ours is None:
            return "", ""
        # Whoever has had one round only is compared with our first.
        ratios = [own / other for own, other in zip(ours, costs, strict=False)]
        return f"{statistics.median(ours) / statistics.median(costs):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"


class Burst(Fanout):
    """The same while events come as fast as the server takes them."""

    title = "as fast as the server answers"
    one_by_one = False


class Memory:
    """What an idle subscribed connection takes of the server's resident memory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.sizes: dict[str, float] = {}

    def run(self, peers: dict[str, Peer]) -> None:
        for peer in peers.values():
            with receiving(peer.doors, 100) as receivers:
                publish(peer, receivers, WARM_UP, self._options.size)
            before = resident_bytes(*peer.pids)
            with receiving(peer.doors, self._options.idle, processes=2):
                self.sizes[peer.name] = (resident_bytes(*peer.pids) - before) / self._options.idle

    def print(self, missing: dict[str, str]) -> None:
        print(f"Memory: resident, per idle subscribed connection, of {self._options.idle}")
        rows = []
        for name, size in self.sizes.items():
            ours = ours_beside(self.sizes, name)
            rows.append([name, f"{size / 1024:.1f} KiB", "" if ours is None else f"{ours / size:.2f}"])
        print_table(["server", "each", "ours / it"], rows + not_run(missing))


_IN_CROWDS = (OURS["sockets"], "nginx + nchan", OURS["streams"], "nginx + nchan, streams")


class Crowd:
    """Ten thousand at once: are they all held, and does everybody hear of everything?"""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.rows: list[list[str]] = []

    def run(self, peers: dict[str, Peer]) -> None:
        for name in _IN_CROWDS:
            if name in peers:
                self.rows.append(self._run_one(peers[name]))

    def _run_one(self, peer: Peer) -> list[str]:
        count = self._options.crowd
        if raise_file_limit() < count + 100:
            return [peer.name, f"not run: this machine allows {raise_file_limit()} open files"]
        memory, began = resident_bytes(*peer.pids), time.monotonic()
        with receiving(peer.doors, count, processes=4) as receivers:
            connected = time.monotonic() - began
            memory = resident_bytes(*peer.pids) - memory
            before, began = cpu_seconds(*peer.pids), time.monotonic()
            report = publish(peer, receivers, self._options.crowd_events, self._options.size)
            took, used = time.monotonic() - began, cpu_seconds(*peer.pids) - before
        return [
            peer.name,
            str(report.subscribers),
            f"{connected:.1f} s",
            f"{memory / count / 1024:.1f} KiB",
            f"{took / self._options.crowd_events * 1e3:.0f} ms",
            f"{used / max(1, report.delivered) * 1e6:.2f} µs",
            str(report.delivered),
            str(report.lost),
        ]

    def print(self, missing: dict[str, str]) -> None:
        print(
            f"A crowd: {self._options.crowd} subscribers in 4 processes, {self._options.crowd_events} events "
            f"of {self._options.size} bytes"
        )
        titles = ["server", "held", "to connect", "memory each", "an event to all", "CPU each", "delivered", "lost"]
        print_table(titles, self.rows + not_run(missing, *_IN_CROWDS))


class Latency:
    """From just before the publishing request to the reading of each message, at a steady rate."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.reports: dict[str, Report] = {}
        self.reasons: dict[str, str] = {}

    def run(self, peers: dict[str, Peer]) -> None:
        able = {name: peer for name, peer in peers.items() if self._can_keep_up(peer)}
        for peer in rotate(list(able.values()), 2):
            with receiving(peer.doors, self._options.subscribers) as receivers:
                publish(peer, receivers, WARM_UP, self._options.size)
                report = self._publish_steadily(peer, receivers)
            self.reports[peer.name] = report + self.reports.get(peer.name, Report(0, 0, 0, 0))

    def _can_keep_up(self, peer: Peer) -> bool:
        with receiving(peer.doors, self._options.subscribers) as receivers:
            before = cpu_seconds(*peer.pids)
            publish(peer, receivers, 2, self._options.size)
            needed = (cpu_seconds(*peer.pids) - before) / len(peer.pids) / 2 * self._options.rate
        if needed > 0.8:
            self.reasons[peer.name] = f"{self._options.rate:.0f} events would take {needed:.1f} s of CPU a second"
        return needed <= 0.8

    def _publish_steadily(self, peer: Peer, receivers: Receivers) -> Report:
        count = max(1, round(self._options.rate * self._options.seconds))
        data = [make_data(number, self._options.size) for number in range(count)]
        requests = [peer.make_request(each) for each in data]
        payloads = [peer.make_message(each) for each in data]
        receivers.begin(payloads[-1], notes_times=True)
        sent: list[int] = []
        began = time.monotonic()
        with HttpConnection(peer.ports[0]) as connection:
            for number, request in enumerate(requests):
                time.sleep(max(0.0, began + number / self._options.rate - time.monotonic()))
                sent.append(time.monotonic_ns())
                connection.send(request)
        return receivers.finish(payloads, sent)

    def print(self, missing: dict[str, str]) -> None:
        print(
            f"Latency: {self._options.subscribers} subscribers, {self._options.rate:.0f} events of "
            f"{self._options.size} bytes a second; from publishing to receiving"
        )
        delays = {name: percentiles(report) for name, report in self.reports.items()}
        rows = []
        for name, report in self.reports.items():
            ours, own = ours_beside(delays, name), delays[name]
            ratios = ("", "") if ours is None else (f"{ours[0] / own[0]:.2f}", f"{ours[1] / own[1]:.2f}")
            counts = (str(report.delivered), str(report.lost))
            rows.append([name, *(f"{value * 1e3:.2f} ms" for value in own), *ratios, *counts])
        titles = ["server", "p50", "p99", "worst", "p50: ours / it", "p99: ours / it", "delivered", "lost"]
        print_table(titles, rows + not_run(missing | self.reasons))


class Bus:
    """What an event costs a process that hears of it from another one and has nobody to tell."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.rows: list[list[str]] = []

    def run(self, peers: dict[str, Peer]) -> None:
        for peer in peers.values():
            if peer.bus is not None or peer.name == OURS["sockets"]:
                self.rows += [self._run_one(peer, at_once) for at_once in AT_ONCE]

    def _run_one(self, peer: Peer, at_once: int) -> list[str]:
        requests = [peer.make_request(make_data(number, self._options.size)) for number in range(1000)]
        processes = (*peer.pids, *(() if peer.bus is None else (peer.bus,)))
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(HttpConnection(peer.ports[0])) for _ in range(at_once)]
            publish_together(connections, requests[:100])
            before = await_rest(processes)
            publish_together(connections, requests)
            used = [after - then for after, then in zip(await_rest(processes), before, strict=True)]
        costs = [f"{seconds / len(requests) * 1e6:.1f} µs" for seconds in used]
        return [peer.name, str(at_once), *costs, *[""] * (3 - len(costs)), str(len(requests))]

    def print(self, missing: dict[str, str]) -> None:
        print(
            f"The bus: events of {self._options.size} bytes that are published at one process, some at once, and "
            "nobody subscribes; CPU time per event"
        )
        print_table(
            ["server", "at once", "publishing process", "other process", "Redis", "events"],
            self.rows + not_run(missing, *(name for name, kind in KINDS.items() if kind == "processes")),
        )


def publish_together(connections: Sequence[HttpConnection], requests: Sequence[bytes]) -> None:
    """Publish over all connections at once, again and again."""
    for start in range(0, len(requests), len(connections)):
        busy = list(zip(connections, requests[start:], strict=False))
        for connection, request in busy:
            connection.ask(request)
        for connection, _ in busy:
            connection.read_answer()


def await_rest(processes: Sequence[int]) -> list[float]:
    """The CPU seconds of each, as soon as none does more than turn over."""
    while True:
        before = [cpu_seconds(pid) for pid in processes]
        time.sleep(0.2)
        used = [cpu_seconds(pid) for pid in processes]
        if all(after - then < 0.01 for after, then in zip(used, before, strict=True)):
            return used


def percentiles(report: Report) -> tuple[float, float, float]:
    cuts = statistics.quantiles(report.delays, n=100)
    return cuts[49], cuts[98], max(report.delays)


def ours_beside(figures: Mapping[str, Figure], name: str) -> Figure | None:
    """Our figure of the kind that ``name`` is of, if there is one."""
    return figures.get(OURS[KINDS[name]])


def rotate(peers: Sequence[Peer], rounds: int) -> list[Peer]:
    """All of them in every round, whoever comes first in one later in the next."""
    turns = [number % len(peers) for number in range(rounds)]
    return [peer for turn in turns for peer in (*peers[turn:], *peers[:turn])]


def not_run(missing: dict[str, str], *only: str) -> list[list[str]]:
    return [[name, f"not run: {reason}"] for name, reason in missing.items() if not only or name in only]


PARTS: dict[str, Callable[[argparse.Namespace], Fanout | Memory | Crowd | Latency | Bus]] = {
    "fanout": Fanout,
    "burst": Burst,
    "memory": Memory,
    "crowd": Crowd,
    "latency": Latency,
    "bus": Bus,
}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="which of %(default)s")
    parser.add_argument("--kinds", default=",".join(OURS), help="which of %(default)s")
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--events", type=int, default=200, help="in each round of the fan-out")
    parser.add_argument("--size", type=int, default=200, help="bytes of an event's data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=2000, help="connections whose memory is measured")
    parser.add_argument("--crowd", type=int, default=10_000)
    parser.add_argument("--crowd-events", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10, help="events a second, for the latency")
    parser.add_argument("--seconds", type=float, default=4, help="of each of two rounds of the latency")
    options = parser.parse_args()
    for wanted, known in ((options.parts, PARTS), (options.kinds, OURS)):
        if unknown := set(wanted.split(",")) - set(known):
            parser.error(f"there is no {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = read_options()
    files, started = raise_file_limit(), time.monotonic()
    print(f"{describe_machine()}, {files} files may be open\n")
    for name in options.parts.split(","):
        part, began = PARTS[name](options), time.monotonic()
        # New processes for each part, so that none measures what another left behind.
        with contextlib.ExitStack() as stack:
            peers, missing = start_all(stack, options.kinds.split(","))
            part.run(peers)
        part.print(missing)
        print(f"({time.monotonic() - began:.0f} s)\n", flush=True)
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
