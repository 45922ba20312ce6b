"""What the benchmarks share: a process's CPU time and memory as Linux counts them, HTTP by hand, and tables."""

import contextlib
import itertools
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Seconds that anything may take which should take a moment.
PATIENCE = 60.0

_TICKS = os.sysconf("SC_CLK_TCK")


class NotRun(Exception):
    """A part or a peer cannot be measured here; the text says why."""


def cpu_seconds(*pids: int) -> float:
    """User and system time of whole processes, all their living threads together."""
    return sum(_thread_seconds(task) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())


def _thread_seconds(task: Path) -> float:
    try:
        # Nanoseconds; the ticks in "stat" are too coarse for a round of a second.
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def user_and_system(*pids: int) -> tuple[float, float]:
    """User and system seconds so far, in ticks of a hundredth."""
    times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
    return sum(int(user) for user, _ in times) / _TICKS, sum(int(system) for _, system in times) / _TICKS


def segments_sent() -> int:
    """TCP segments with data that this machine has sent so far, whoever sent them."""
    names, values = (
        line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
    )
    return int(values[names.index("TCPOrigDataSent")])


def resident_bytes(*pids: int) -> int:
    """Memory that the processes have to themselves or share, as it stands in RAM."""
    return sum(_status(pid, "VmRSS") for pid in pids) * 1024


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ProcessLookupError(f"Process {pid} has no {name}: it has ended")


def child_pids(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as may be; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def listen() -> socket.socket:
    """A socket that listens at a free port."""
    # asyncio turns Nagle's algorithm off only where the protocol is named, which create_server does not do.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener


@contextlib.contextmanager
def running(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child process and the first line that it prints; it is ended by its own pid, its complaints shown.

    Raises ``NotRun`` with the last of them where it ends without a line.
    """
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            arguments,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            end(process)
            process.stdout.close()
            complaints.seek(0)
            raise NotRun(complaints.read().strip().rpartition("\n")[2] or "it has ended without a word")
        try:
            yield process, line
        finally:
            end(process)
            process.stdout.close()
            complaints.seek(0)
            # A server that fails a thousand times says the same each time.
            for line in itertools.islice(complaints, 30):
                print(f"  {Path(arguments[-1]).name}: {line}", end="", file=sys.stderr)


def end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class HttpConnection:
    """One kept-alive connection for requests made beforehand; it reads answers with a length, no others."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "HttpConnection":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def send(self, request: bytes) -> bytes:
        """The body of the answer; raises where that is no success."""
        self.ask(request)
        return self.read_answer()

    def ask(self, request: bytes) -> None:
        self._socket.sendall(request)

    def read_answer(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive(received)
        head, _, body = received.partition(b"\r\n\r\n")
        length = content_length(head)
        while len(body) < length:
            body += self._receive(head)
        status = head.split(None, 2)[1]
        if not status.startswith(b"2"):
            raise RuntimeError(f"Answered {status.decode()}: {body.decode(errors='replace')}")
        return body

    def _receive(self, so_far: bytes) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError(f"Closed in the middle of an answer: {so_far!r}")
        return part


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def http_request(
    method: str, target: str, body: bytes = b"", *, content_type: str = "application/json", headers: Sequence[str] = ()
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need, the first to the left; a row of two cells is a name and a remark."""
    cells = [list(titles), *map(list, rows)]
    # No column has to make room for a remark.
    widths = [max(len(row[index]) for row in cells if not index or len(row) > 2) for index in range(len(titles))]
    for row in cells:
        first = row[0].ljust(widths[0])
        if len(row) == 2:
            print(f"{first}  {row[1]}")
        else:
            others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            print("  ".join([first, *others]))
    print()


def spread(values: Sequence[float], unit: float = 1.0) -> tuple[str, str]:
    """The median, and the least and the greatest, in a unit."""
    return f"{statistics.median(values) * unit:.2f}", f"{min(values) * unit:.2f}-{max(values) * unit:.2f}"


def describe_machine() -> str:
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {loads} at the start, {sys.platform}"
