"""Subscribers in processes of their own: raw sockets and epoll, so that they take little from what is measured.

Every byte that arrives is compared; what all of them must have received is parsed once, and the others with it.
"""

import contextlib
import multiprocessing
import select
import socket
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

from formats import Parse, masked_frame, parse_blocks, parse_chunked_blocks, parse_frames
from measuring import PATIENCE, raise_file_limit

_PIECE = 262_144


@dataclass(frozen=True)
class Door:
    """How to become a subscriber; without a ``confirmation``, whoever is let in is one."""

    port: int
    target: str
    greeting: bytes = b""
    confirmation: bytes = b""
    #: Whether it leads to an event stream, and not to a WebSocket.
    is_stream: bool = False


@dataclass(frozen=True)
class Report:
    """What the subscribers of one process, or of all, have received of what was published."""

    subscribers: int
    delivered: int
    lost: int
    #: Messages that were not published by us, such as pings and counts.
    others: int
    #: Seconds from being sent to being read, of every message.
    delays: array = field(default_factory=lambda: array("d"))

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.subscribers + other.subscribers,
            self.delivered + other.delivered,
            self.lost + other.lost,
            self.others + other.others,
            self.delays + other.delays,
        )


class Receivers:
    """``count`` subscribers, spread over some processes, and in each of these over the doors."""

    def __init__(self, doors: Sequence[Door], count: int, *, processes: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes = []
        for index in range(processes):
            ours, theirs = context.Pipe()
            share = count // processes + (index < count % processes)
            process = context.Process(target=_receive, args=(theirs, tuple(doors), share, index), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._answers()

    def begin(self, last: bytes, *, notes_times: bool = False) -> None:
        """Take what has come so far as seen; what comes now counts, up to the message ``last``."""
        self._ask("begin", last, notes_times)

    def expect(self, last: bytes) -> None:
        """Wait in the background for one more message, until ``settle``."""
        for pipe in self._pipes:
            pipe.send(("await_next", last))

    def settle(self) -> bool:
        """Whether everybody has received what was expected, as soon as that is so."""
        return all(self._answers())

    def finish(self, payloads: Sequence[bytes], sent: Sequence[int] = ()) -> Report:
        """Wait until all have come, for a time; ``sent`` says when, in nanoseconds of ``time.monotonic_ns``."""
        reports = self._ask("finish", list(payloads), list(sent))
        return sum(reports[1:], start=reports[0])

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(("close",))
            pipe.close()
        for process in self._processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, *question: object) -> list:
        for pipe in self._pipes:
            pipe.send(question)
        return self._answers()

    def _answers(self) -> list:
        answers = [
            pipe.recv() if pipe.poll(4 * PATIENCE) else TimeoutError("A receiver is silent") for pipe in self._pipes
        ]
        for answer in answers:
            if isinstance(answer, Exception):
                self.close()
                raise answer
        return answers


@contextlib.contextmanager
def receiving(doors: Sequence[Door], count: int, *, processes: int = 1) -> Iterator[Receivers]:
    receivers = Receivers(doors, count, processes=processes)
    try:
        yield receivers
    finally:
        receivers.close()


def _receive(pipe: Pipe, doors: Sequence[Door], count: int, index: int) -> None:
    raise_file_limit()
    try:
        crowd = _Crowd(pipe, doors, count, source=f"127.0.0.{index + 1}")
        pipe.send("connected")
        crowd.run()
    except EOFError:
        # The benchmark has gone.
        pass
    except Exception as error:
        pipe.send(error)
        raise


@dataclass(eq=False, slots=True)
class _Subscriber:
    socket: socket.socket
    #: How far it agrees with the crowd, and what it got from there on if it does not.
    position: int = 0
    deviation: bytearray | None = None
    is_done: bool = False
    is_closed: bool = False


class _Crowd:
    def __init__(self, pipe: Pipe, doors: Sequence[Door], count: int, *, source: str) -> None:
        self._pipe = pipe
        self._epoll = select.epoll()
        self._epoll.register(pipe.fileno(), select.EPOLLIN)
        self._subscribers: dict[int, _Subscriber] = {}
        self._parse: Parse = parse_frames
        for number in range(count):
            connected, self._parse = _connect(doors[number % len(doors)], source)
            subscriber = _Subscriber(connected)
            self._subscribers[subscriber.socket.fileno()] = subscriber
            self._epoll.register(subscriber.socket.fileno(), select.EPOLLIN)
        self._buffer = memoryview(bytearray(_PIECE))
        self._crowd = bytearray()
        self._last = b""
        self._end = -1
        self._done = 0
        self._times: list[tuple[int, int, int]] | None = None

    def run(self) -> None:
        while True:
            self._read(1.0)
            if not self._pipe.poll():
                continue
            question, *rest = self._pipe.recv()
            if question == "close":
                for subscriber in self._subscribers.values():
                    subscriber.socket.close()
                return
            self._pipe.send(getattr(self, question)(*rest))

    def begin(self, last: bytes, notes_times: bool) -> str:
        while self._read(0.05):
            pass
        self._crowd, self._end = bytearray(), -1
        self._times = [] if notes_times else None
        for subscriber in self._subscribers.values():
            subscriber.position, subscriber.deviation = 0, None
        self._look_for(last)
        return "begun"

    def await_next(self, last: bytes) -> bool:
        self._look_for(last)
        self._await_all()
        return self._done == len(self._subscribers)

    def _look_for(self, last: bytes) -> None:
        """Note who has it, for it may have come before the question, and who has yet to."""
        # Of an event in a stream, the name and the data need not stand side by side.
        last = last.rpartition(b"\n")[2]
        found = self._crowd.find(last, max(0, self._end))
        self._last, self._end, self._done = last, found + len(last) if found >= 0 else -1, 0
        for subscriber in self._subscribers.values():
            subscriber.is_done = False
            has_it = 0 <= self._end <= subscriber.position or last in (subscriber.deviation or b"")
            self._note_end(subscriber, subscriber.is_closed or has_it)

    def _await_all(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._done < len(self._subscribers) and time.monotonic() < deadline:
            self._read(0.1)

    def finish(self, payloads: list[bytes], sent: list[int]) -> Report:
        self._await_all()
        # An event in a stream may go on after its data.
        while self._read(0.05):
            pass
        streams = {
            subscriber: bytes(self._crowd[: subscriber.position]) + bytes(subscriber.deviation or b"")
            for subscriber in self._subscribers.values()
        }
        wanted = {payload: number for number, payload in enumerate(payloads)}
        parsed = {stream: list(self._parse(stream)) for stream in set(streams.values())}
        delivered = lost = others = 0
        for stream in streams.values():
            seen = [wanted[payload] for payload, _ in parsed[stream] if payload in wanted]
            # In order and none twice: anything else is a loss too.
            is_whole = seen == list(range(len(payloads)))
            delivered += len(seen)
            lost += 0 if is_whole else max(1, len(payloads) - len(set(seen)))
            others += len(parsed[stream]) - len(seen)
        return Report(len(streams), delivered, lost, others, self._delays(wanted, sent))

    def _read(self, timeout: float) -> bool:
        """Read once from whatever has something to read; whether there was anything."""
        ready = self._epoll.poll(timeout, 1024)
        for number, _ in ready:
            subscriber = self._subscribers.get(number)
            if subscriber is not None:
                self._take(number, subscriber)
        return any(number in self._subscribers for number, _ in ready)

    def _take(self, number: int, subscriber: _Subscriber) -> None:
        try:
            size = subscriber.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionResetError:
            size = 0
        if not size:
            # What it has not received is counted as lost.
            self._epoll.unregister(number)
            subscriber.is_closed = True
            self._note_end(subscriber, True)
            return
        data = self._buffer[:size]
        if subscriber.deviation is not None:
            subscriber.deviation += data
            self._note_end(subscriber, self._last in subscriber.deviation)
            return
        begin, end = subscriber.position, subscriber.position + size
        known = len(self._crowd)
        if self._crowd[begin:end] != data[: max(0, known - begin)]:
            subscriber.deviation = bytearray(data)
            self._note_end(subscriber, self._last in subscriber.deviation)
            return
        if end > known:
            self._crowd += data[max(0, known - begin) :]
            if self._end < 0 and self._last:
                found = self._crowd.find(self._last, max(0, known - len(self._last)))
                self._end = found + len(self._last) if found >= 0 else -1
        subscriber.position = end
        if self._times is not None:
            self._times.append((begin, end, time.monotonic_ns()))
        self._note_end(subscriber, 0 <= self._end <= end)

    def _note_end(self, subscriber: _Subscriber, is_done: bool) -> None:
        if is_done and not subscriber.is_done:
            subscriber.is_done = True
            self._done += 1

    def _delays(self, wanted: dict[bytes, int], sent: list[int]) -> array:
        delays = array("d")
        if self._times is None:
            return delays
        ends = [(end, wanted[payload]) for payload, end in self._parse(bytes(self._crowd)) if payload in wanted]
        at: dict[tuple[int, int], list[int]] = {}
        for begin, end, when in self._times:
            if (begin, end) not in at:
                at[begin, end] = [number for position, number in ends if begin < position <= end]
            for number in at[begin, end]:
                delays.append((when - sent[number]) / 1e9)
        return delays


def _connect(door: Door, source: str) -> tuple[socket.socket, Parse]:
    client = socket.socket()
    client.settimeout(PATIENCE)
    # Each process has 28 000 ports of its own.
    client.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    client.bind((source, 0))
    client.connect(("127.0.0.1", door.port))
    client.sendall(_request(door))
    answer = _read_until(client, b"\r\n\r\n", b"")
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200" if door.is_stream else b"HTTP/1.1 101"):
        raise ConnectionError(f"Not let in: {answer!r}")
    if door.greeting:
        client.sendall(masked_frame(door.greeting))
    if door.confirmation:
        _read_until(client, door.confirmation, rest)
    client.setblocking(False)
    if not door.is_stream:
        return client, parse_frames
    return client, parse_chunked_blocks if b"chunked" in head.lower() else parse_blocks


def _request(door: Door) -> bytes:
    lines = [f"GET {door.target} HTTP/1.1", f"Host: 127.0.0.1:{door.port}"]
    if door.is_stream:
        lines += ["Accept: text/event-stream"]
    else:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return "\r\n".join([*lines, "", ""]).encode()


def _read_until(client: socket.socket, wanted: bytes, received: bytes) -> bytes:
    while wanted not in received:
        part = client.recv(65536)
        if not part:
            raise ConnectionError(f"Closed before {wanted!r}, after {received!r}")
        received += part
    return received
