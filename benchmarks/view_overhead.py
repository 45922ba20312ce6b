"""What the mixin adds to the time of a detail view: ``python benchmarks/view_overhead.py [--profile]``.

Beside it the way of a mixin that publishes inside the request, with a new client each time. All of them take turns,
once for each condition that a service may be in, on the loopback alone.
"""

import argparse
import contextlib
import cProfile
import json
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

os.environ["DJANGO_SETTINGS_MODULE"] = "overhead_settings"

import django
from django.conf import settings

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.serializers.json import DjangoJSONEncoder  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.forms.models import model_to_dict  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import RequestFactory, override_settings  # noqa: E402
from django.views.generic import DetailView  # noqa: E402
from pusher import Pusher  # noqa: E402
from pusher.errors import PusherError  # noqa: E402

from pusherable.backends.counting import delivery_stats  # noqa: E402
from pusherable.mixins import PusherDetailMixin  # noqa: E402

#: Rounds in which all take turns, and the requests of each in one of them.
ROUNDS = 60
REQUESTS_PER_ROUND = 25
#: Seconds between two requests, in which the delivery thread can work; not measured.
PAUSE = 0.002
#: Requests that are not counted: imports, the first connections, the thread.
WARM_UP = 30
#: Seconds that the comparison's requests may take in each condition; they may wait for the service's time-out.
PATIENCE = 6.0


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
            timeout=settings.PUSHER_TIMEOUT,
            json_encoder=DjangoJSONEncoder,
        )
        data = {"object": model_to_dict(self.object), "user": self.request.user.username}
        client.trigger([f"post_{self.object.pk}"], "view", data)
        return super().render_to_response(context, **kwargs)


@dataclass
class Contestant:
    name: str
    view: Callable[..., HttpResponse]
    is_dummy: bool = False
    pause: float = PAUSE
    #: Whether one request may take as long as the service's time-out.
    may_wait: bool = False
    #: The median of each round, and every request's time, in seconds.
    medians: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    errors: int = 0

    def run_round(self, requests: int, user: User) -> None:
        if self.may_wait and sum(self.times) > PATIENCE:
            return
        # Overriding makes settings slower to read; whoever is measured with them goes without.
        chosen = override_settings(PUSHERABLE_BACKEND="dummy") if self.is_dummy else contextlib.nullcontext()
        with chosen:
            taken = [self.answer_one(user) for _ in range(1 if self.may_wait else requests)]
        self.times += taken
        self.medians.append(statistics.median(taken))

    def answer_one(self, user: User) -> float:
        time.sleep(self.pause)
        request = make_request(user)
        began = time.perf_counter()
        try:
            self.view(request, pk=1).render()
        except (OSError, PusherError):
            # The comparison's way hands the failure of the service on to the visitor.
            self.errors += 1
        return time.perf_counter() - began

    def forget(self) -> None:
        self.times.clear()
        self.medians.clear()
        self.errors = 0

    def summarize(self, plain: "Contestant") -> dict[str, float]:
        """In microseconds; what is added is that of the median round, of those that both have run."""
        added = [own - other for own, other in zip(self.medians, plain.medians, strict=False)]
        return {
            "median": statistics.median(self.times) * 1e6,
            "p5": fastest(self.times) * 1e6,
            "added to p5": (fastest(self.times) - fastest(plain.times)) * 1e6,
            "p99": statistics.quantiles(self.times, n=100)[98] * 1e6 if len(self.times) > 1 else self.times[0] * 1e6,
            "added": statistics.median(added) * 1e6,
            "ratio": statistics.median(self.times) / statistics.median(plain.times),
            "errors": self.errors,
        }


def fastest(times: list[float]) -> float:
    """The time within which the fastest twentieth was answered."""
    return sorted(times)[len(times) // 20]


def make_request(user: User) -> HttpRequest:
    request = RequestFactory().get("/posts/1/")
    request.user = user
    return request


@contextlib.contextmanager
def running_stub(*, delay: float = 0.0, status: int = 200) -> Iterator[int]:
    """The port of a service that gives every request the same answer."""
    command = [sys.executable, str(Path(__file__).with_name("stub_service.py")), str(delay), str(status)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port where nobody is let in or sent away: its queue is full, and packets are dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


CONDITIONS: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "0 ms": running_stub,
    "50 ms": lambda: running_stub(delay=0.05),
    "dead": deserted_port,
    "black hole": black_hole,
    "refusing": lambda: running_stub(status=401),
}


def make_contestants() -> list[Contestant]:
    plain, ours, inside = (view.as_view() for view in (PlainView, OurView, PublishingInsideView))
    return [
        Contestant("plain view", plain),
        Contestant("ours, composed but not delivered", ours, is_dummy=True),
        Contestant("ours", ours),
        Contestant("inside the request, a new client", inside, may_wait=True),
        Contestant("plain view, no pause", plain, pause=0),
        Contestant("ours, no pause", ours, pause=0),
    ]


def create_data() -> User:
    with connection.schema_editor() as editor:
        editor.create_model(User)
        editor.create_model(Post)
    user = User.objects.create(username="admin")
    Post.objects.create(title="What's up?", body="Not much. " * 40, author=user)
    return user


def measure() -> None:
    """All contestants under one condition, in this process; the result is one line of JSON."""
    logging.getLogger("pusherable").addHandler(logging.NullHandler())
    user = create_data()
    contestants = make_contestants()
    for each in contestants:
        each.run_round(WARM_UP, user)
        each.forget()
    for done in range(ROUNDS):
        # Whoever comes first in one round comes later in the next.
        turn = done % len(contestants)
        for each in contestants[turn:] + contestants[:turn]:
            each.run_round(REQUESTS_PER_ROUND, user)
    plain, hurried = contestants[0], contestants[4]
    result = {each.name: each.summarize(hurried if each.pause == 0 else plain) for each in contestants}
    print(json.dumps({"result": result, "stats": delivery_stats()._asdict()}), flush=True)
    # What is still queued is not waited for.
    os._exit(0)


def measure_all() -> dict[str, dict[str, Any]]:
    results = {}
    for condition, serve in CONDITIONS.items():
        with serve() as port:
            done = subprocess.run(
                [sys.executable, __file__, "--measure"],
                env={**os.environ, "BENCHMARK_PORT": str(port)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        results[condition] = json.loads(done.stdout.splitlines()[-1])
    return results


def print_table(results: dict[str, dict[str, Any]], figure: str, form: Callable[[float], str]) -> None:
    print(f"\n{figure:<36}" + "".join(f"{condition:>13}" for condition in results))
    names = next(iter(results.values()))["result"]
    for name in names:
        print(f"{name:<36}" + "".join(f"{form(each['result'][name][figure]):>13}" for each in results.values()))


def microseconds(value: float) -> str:
    return f"{value:,.0f} µs"


def print_profile() -> None:
    """Where the time of a view goes, the delivery left out."""
    user = create_data()
    view = OurView.as_view()
    profile = cProfile.Profile(time.thread_time)
    with override_settings(PUSHERABLE_BACKEND="dummy"):
        for _ in range(2000):
            request = make_request(user)
            profile.runcall(lambda request=request: view(request, pk=1).render())
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", action="store_true", help="print where the time goes, instead of the tables")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.profile:
        print_profile()
        return
    if arguments.measure:
        measure()
        return
    started = time.perf_counter()
    results = measure_all()
    print(
        f"Python {platform.python_version()}, Django {django.get_version()}, {os.cpu_count()} CPUs; "
        f"{ROUNDS} rounds of {REQUESTS_PER_ROUND} requests under each condition"
    )
    print_table(results, "median", microseconds)
    print_table(results, "added", microseconds)
    print_table(results, "p5", microseconds)
    print_table(results, "added to p5", microseconds)
    print_table(results, "p99", microseconds)
    print_table(results, "ratio", lambda value: f"{value:.2f}")
    print_table(results, "errors", lambda value: f"{value:.0f}")
    print(
        f"\nadded: the median over the rounds of what a request took more than one of the plain view in that round."
        "\np5: the fastest twentieth, which other work on the machine disturbs least."
        f"\nBetween two requests there is a pause of {PAUSE * 1000:.0f} ms. Without one, the delivery thread shares"
        "\nthe interpreter with the requests all the time, which is what ours pays then beside the composing."
        "\nerrors: requests whose visitor has seen the failure of the service."
    )
    print("What became of the events: " + "; ".join(f"{name}: {each['stats']}" for name, each in results.items()))
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
