"""Events a second through the threaded backend: ``python benchmarks/throughput.py [--rounds 3]``.

To ``runpushserver``, and to a stub that answers each request after 50 ms, as a service far away does. Beside it the
``pusher`` package by itself, one request after the other. All take turns in one run, each in a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measuring import ROOT, describe_machine, free_port, print_table, running, spread

HERE = Path(__file__).resolve().parent

CHANNELS = 100
#: About what a small object takes.
DATA = json.dumps({"object": {"title": "What's up?", "body": "Not much. " * 30}, "user": "ada"})
#: Milliseconds of the service that is far away.
DELAY = 50


@dataclass
class Contestant:
    """One way of sending; ``events`` are sent in each round. With no workers it is the ``pusher`` package alone."""

    name: str
    workers: int
    events: int
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, port: int) -> None:
        arguments = [
            sys.executable,
            str(HERE / "throughput.py"),
            "--send",
            str(self.events),
            "--workers",
            str(self.workers),
        ]
        with running(arguments, env=environment(port)) as (_, line):
            result = json.loads(line)
        if result["sent"] != self.events:
            raise SystemExit(f"{self.name}: {result['sent']} of {self.events} events were sent.")
        self.rates.append(self.events / result["seconds"])
        self.cpu.append(result["cpu"] / self.events)


def environment(port: int) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "server_settings",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "BENCHMARK_PORT": str(port),
    }


def send(count: int, workers: int) -> dict[str, float]:
    """Send so many events, in this process; how many were taken, and in how long, of the clock and of the CPU."""
    import django
    from django.conf import settings

    settings.PUSHERABLE_WORKERS = workers or 1
    settings.PUSHERABLE_QUEUE_SIZE = count + 1
    django.setup()
    way = send_by_package if workers == 0 else send_by_backend
    # Imports, the first connections and the threads are not what is measured.
    way(workers * 20 or 1)
    began, used = time.perf_counter(), cpu_seconds()
    sent = way(count)
    return {"sent": sent, "seconds": time.perf_counter() - began, "cpu": cpu_seconds() - used}


def send_by_backend(count: int) -> int:
    from pusherable import delivery_stats
    from pusherable.backends import get_backend
    from pusherable.backends.threaded import ThreadedBackend
    from pusherable.events import Event

    backend = get_backend()
    assert isinstance(backend, ThreadedBackend)
    before = delivery_stats().sent
    for number in range(count):
        backend.deliver(Event((f"post_{number % CHANNELS}",), "updated", DATA))
    backend.flush(300)
    return delivery_stats().sent - before


def send_by_package(count: int) -> int:
    from django.conf import settings
    from pusher import Pusher

    client = send_by_package.__dict__.setdefault(
        "client",
        Pusher(
            app_id=settings.PUSHER_APP_ID,
            key=settings.PUSHER_KEY,
            secret=settings.PUSHER_SECRET,
            host=settings.PUSHER_HOST,
            port=settings.PUSHER_PORT,
            ssl=False,
        ),
    )
    for number in range(count):
        client.trigger([f"post_{number % CHANNELS}"], "updated", DATA)
    return count


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def local_server() -> Iterator[int]:
    port = free_port()
    arguments = [sys.executable, "-m", "django", "runpushserver", f"127.0.0.1:{port}", "--noreload", "-v", "0"]
    with running(arguments, env=environment(port)):
        yield port


@contextmanager
def far_stub() -> Iterator[int]:
    with running([sys.executable, str(HERE / "stub_service.py"), str(DELAY / 1000)]) as (_, line):
        yield int(line)


def race(title: str, contestants: list[Contestant], port: int, rounds: int) -> None:
    for done in range(rounds):
        turn = done % len(contestants)
        for each in contestants[turn:] + contestants[:turn]:
            each.run(port)
    package, *_ = contestants
    slowest = statistics.median(package.rates)
    rows = []
    for each in contestants:
        median, bounds = spread(each.rates)
        cpu, _ = spread(each.cpu, 1e6)
        ratio = statistics.median(each.rates) / slowest
        rows.append([each.name, median, bounds, f"{ratio:.1f}", cpu])
    print_table([title, "events/s", "least-most", "ratio", "CPU µs/event"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--send", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send is not None:
        print(json.dumps(send(arguments.send, arguments.workers)), flush=True)
        return
    began = time.perf_counter()
    print(f"{describe_machine()}; {arguments.rounds} rounds, {len(DATA)} bytes of data, {CHANNELS} channels\n")
    near = [Contestant("pusher alone", 0, 1_000)]
    near += [Contestant(f"threaded, {count} worker{'s' * (count > 1)}", count, 8_000) for count in (1, 2, 4)]
    with local_server() as port:
        race("to runpushserver", near, port, arguments.rounds)
    far = [Contestant("pusher alone", 0, 60)]
    far += [
        Contestant(f"threaded, {count} worker{'s' * (count > 1)}", count, 800 * count) for count in (1, 2, 4, 8, 16)
    ]
    with far_stub() as port:
        race(f"to a stub with {DELAY} ms", far, port, arguments.rounds)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
