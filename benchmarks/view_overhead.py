"""What the mixin adds to the time of a detail view: ``python benchmarks/view_overhead.py [--profile]``.

Beside it the way of a mixin that publishes inside the request, with a new client each time. All of them take
turns in one run, on the loopback alone.
"""

import argparse
import contextlib
import cProfile
import logging
import os
import platform
import pstats
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of the benchmark alone",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "pusherable"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [
                            (
                                "django.template.loaders.locmem.Loader",
                                {"post.html": "<h1>{{ object.title }}</h1>{{ object.body|linebreaks }}"},
                            )
                        ],
                    )
                ]
            },
        }
    ],
    PUSHER_APP_ID="1",
    PUSHER_KEY="key",
    PUSHER_SECRET="secret",
    PUSHER_HOST="127.0.0.1",
    PUSHER_SSL=False,
    PUSHERABLE_BACKEND="threaded",
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.serializers.json import DjangoJSONEncoder  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.forms.models import model_to_dict  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import RequestFactory, override_settings  # noqa: E402
from django.views.generic import DetailView  # noqa: E402
from pusher import Pusher  # noqa: E402

from pusherable.backends import get_backend  # noqa: E402
from pusherable.events import Event  # noqa: E402
from pusherable.mixins import PusherDetailMixin  # noqa: E402

#: It ends after so many rounds, or with the round in which the time is over.
ROUNDS = 40
SECONDS = 40
REQUESTS_PER_ROUND = 50
#: Requests of each kind that are not counted: imports, the first connections, the thread.
WARM_UP = 30

# A process of its own, so that its work is not done under our interpreter's lock.
STUB = """
import asyncio

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 2\\r\\n\\r\\n{}"

class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\\r\\n\\r\\n")
        if not end:
            return
        lengths = [line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1])
        if len(body) >= length:
            self.received = body[length:]
            self.transport.write(ANSWER)

async def main():
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


EVENT = Event(("post_1",), "view", "{}")


class Post(models.Model):
    title = models.CharField(max_length=200)
    body = models.TextField()
    pub_date = models.DateTimeField(null=True)
    author = models.ForeignKey(User, models.CASCADE, null=True)

    class Meta:
        app_label = "benchmark"

    def __str__(self):
        return self.title


class PlainView(DetailView):
    model = Post
    template_name = "post.html"


class OurView(PusherDetailMixin, PlainView):
    pass


class PublishingInsideView(PlainView):
    """The way of publishing that this one is compared with: in the request, by a client made for it."""

    def render_to_response(self, context, **kwargs):
        client = Pusher(
            app_id=settings.PUSHER_APP_ID,
            key=settings.PUSHER_KEY,
            secret=settings.PUSHER_SECRET,
            host=settings.PUSHER_HOST,
            port=settings.PUSHER_PORT,
            ssl=settings.PUSHER_SSL,
            json_encoder=DjangoJSONEncoder,
        )
        data = {"object": model_to_dict(self.object), "user": self.request.user.username}
        client.trigger([f"post_{self.object.pk}"], "view", data)
        return super().render_to_response(context, **kwargs)


@dataclass
class Contestant:
    name: str
    view: Callable[..., HttpResponse]
    port: int
    #: Whether the delivery of one event may still be going on when the next request comes.
    is_hurried: bool = False
    backend: str = "threaded"
    #: Whether an event is delivered before each request, outside of what is measured: it leaves cold caches.
    follows_delivery: bool = False
    times: list[float] = field(default_factory=list)
    errors: int = 0

    def run(self, requests: int, user: User) -> None:
        with override_settings(PUSHER_PORT=self.port, PUSHERABLE_BACKEND=self.backend):
            for _ in range(requests):
                if self.follows_delivery:
                    get_backend().deliver(EVENT)
                    get_backend().flush(10)
                self.answer_one(user)
                if not self.is_hurried:
                    get_backend().flush(10)
            get_backend().flush(10)

    def answer_one(self, user: User) -> None:
        request = make_request(user)
        began = time.perf_counter()
        try:
            self.view(request, pk=1).render()
        except OSError:
            # The comparison's way hands the failure of the service on to the visitor.
            self.errors += 1
        self.times.append(time.perf_counter() - began)

    def forget(self) -> None:
        self.times.clear()
        self.errors = 0


class Summary(NamedTuple):
    p5: float
    median: float
    p99: float

    @classmethod
    def of(cls, times: list[float]) -> "Summary":
        percentiles = statistics.quantiles(times, n=100)
        return cls(percentiles[4], percentiles[49], percentiles[98])


class LineCounter(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def make_request(user: User) -> HttpRequest:
    request = RequestFactory().get("/posts/1/")
    request.user = user
    return request


@contextlib.contextmanager
def running_stub() -> Iterator[int]:
    """The port of a service that answers every request with ``{}`` at once."""
    process = subprocess.Popen([sys.executable, "-c", STUB], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def deserted_port() -> Iterator[int]:
    """A port that nothing listens at, kept from others meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def make_contestants(answering: int, deserted: int) -> list[Contestant]:
    plain, ours, inside = (view.as_view() for view in (PlainView, OurView, PublishingInsideView))
    return [
        Contestant("without the mixin", plain, deserted),
        Contestant("without it, after a delivery", plain, answering, follows_delivery=True),
        Contestant("with it, composed but not delivered", ours, deserted, backend="dummy"),
        Contestant("with it, nothing listens", ours, deserted),
        Contestant("with it, a service answers", ours, answering),
        Contestant("with it, nothing listens, hurried", ours, deserted, is_hurried=True),
        Contestant("with it, a service answers, hurried", ours, answering, is_hurried=True),
        Contestant("inside the request, a service answers", inside, answering),
        Contestant("inside the request, nothing listens", inside, deserted),
    ]


def run_rounds(contestants: list[Contestant], user: User) -> int:
    """Let them take turns; returns in how many rounds."""
    deadline = time.perf_counter() + SECONDS
    for done in range(ROUNDS):
        if time.perf_counter() > deadline:
            return done
        # Whoever comes first in one round comes later in the next.
        turn = done % len(contestants)
        for each in contestants[turn:] + contestants[:turn]:
            each.run(REQUESTS_PER_ROUND, user)
    return ROUNDS


def create_data() -> User:
    with connection.schema_editor() as editor:
        editor.create_model(User)
        editor.create_model(Post)
    user = User.objects.create(username="admin")
    Post.objects.create(title="What's up?", body="Not much. " * 40, author=user)
    return user


def print_table(contestants: list[Contestant]) -> None:
    print(f"{'a detail view':<40}{'median':>10}{'added':>10}{'ratio':>8}{'p99':>11}", end="")
    print(f"{'p5':>10}{'added':>10}{'errors':>8}")
    plain = Summary.of(contestants[0].times)
    for each in contestants:
        own = Summary.of(each.times)
        print(
            f"{each.name:<40}{microseconds(own.median):>10}{microseconds(own.median - plain.median):>10}"
            f"{own.median / plain.median:>8.2f}{microseconds(own.p99):>11}"
            f"{microseconds(own.p5):>10}{microseconds(own.p5 - plain.p5):>10}{each.errors:>8}"
        )


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def print_profile(contestant: Contestant, user: User) -> None:
    """Where the time of a view goes, the delivery thread left out."""
    profile = cProfile.Profile(time.thread_time)
    with override_settings(PUSHERABLE_BACKEND=contestant.backend):
        for _ in range(2000):
            profile.runcall(contestant.view, make_request(user), pk=1)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", action="store_true", help="print where the time goes, instead of the table")
    arguments = parser.parse_args()
    counter = LineCounter()
    logging.getLogger("pusherable").addHandler(counter)
    started = time.perf_counter()
    user = create_data()
    with running_stub() as answering, deserted_port() as deserted:
        contestants = make_contestants(answering, deserted)
        for each in contestants:
            each.run(WARM_UP, user)
            each.forget()
        if arguments.profile:
            print_profile(contestants[2], user)
            return
        rounds = run_rounds(contestants, user)
    print(
        f"Python {platform.python_version()}, Django {django.get_version()}, {os.cpu_count()} CPUs, "
        f"{rounds} rounds of {REQUESTS_PER_ROUND} requests each\n"
    )
    print_table(contestants)
    print(
        "\np5: the fastest twentieth, which other work on the machine disturbs least."
        "\nAfter a delivery: the processor's caches are cold, as they are in the rows below it that deliver."
        "\nHurried: the next request comes while the event of the last is still being delivered; otherwise it waits"
        "\nfor that, outside of what is measured."
        f"\nLog lines about the service that is down: {len(counter.lines)}"
    )
    for line in counter.lines:
        print(f"  {line}")
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
