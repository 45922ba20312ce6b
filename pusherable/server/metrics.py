"""What the server counts, in the text form of Prometheus; and whether it is up. Takes the ``metrics`` extra."""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pusherable.server.facts import Broadcast, ClientEvent, Fact, Refused
from pusherable.server.hub import Hub
from pusherable.server.listener import Traffic
from pusherable.server.protocol import CloseCode

if TYPE_CHECKING:
    from prometheus_client import Metric

    from pusherable.server.hooks import Webhooks

#: Who may see what is counted.
Audience = Literal["nobody", "this machine", "everybody"]

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


def is_available() -> bool:
    """Whether the package that writes the page is installed."""
    return find_spec("prometheus_client") is not None


class Metrics:
    """Counts what a hub tells it (by ``observe``) and which HTTP requests are answered (by ``count_request``)."""

    def __init__(self) -> None:
        self._broadcasts = 0
        self._delivered = 0
        self._client_events = 0
        self._slow_readers = 0
        self._refused: Counter[int] = Counter()
        self._requests: Counter[int] = Counter()

    def observe(self, fact: Fact) -> None:
        match fact:
            case Broadcast():
                # So that the sum of all processes is what was published.
                self._broadcasts += fact.is_ours
                self._delivered += fact.receivers
            case ClientEvent():
                self._client_events += 1
            case Refused():
                self._refused[fact.code] += 1
                # Who has no socket id yet has found no room.
                self._slow_readers += fact.code == CloseCode.OVER_CAPACITY and fact.socket_id is not None

    def count_request(self, status: int) -> None:
        self._requests[status] += 1

    def render(self, hub: Hub, traffic: Traffic, webhooks: "Webhooks | None") -> tuple[bytes, str]:
        """The whole page, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.registry import Collector

        class Now(Collector):
            def collect(_) -> Iterable["Metric"]:
                return self._collect(hub, traffic, webhooks)

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Now())
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _collect(self, hub: Hub, traffic: Traffic, webhooks: "Webhooks | None") -> Iterator["Metric"]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        connections = GaugeMetricFamily("pusherable_connections", "Clients connected", labels=["app"])
        channels = GaugeMetricFamily("pusherable_channels", "Channels with subscribers", labels=["app"])
        for app in hub.config.apps:
            connections.add_metric([app.id], hub.connection_count(app))
            channels.add_metric([app.id], sum(1 for _ in hub.occupied_channels(app)))
        yield from (connections, channels)
        for name, text, value in (
            ("messages_received", "Messages of clients", traffic.received),
            ("messages_sent", "Published events handed to clients", self._delivered),
            ("events_published", "Events published, once for each of their channels", self._broadcasts),
            ("client_events", "Events that clients sent each other", self._client_events),
            ("slow_readers_closed", "Clients sent away since they read too slowly", self._slow_readers),
            ("webhooks_sent", "Webhook requests that were taken", webhooks.sent if webhooks else 0),
            ("webhooks_failed", "Webhook requests that were given up", webhooks.failed if webhooks else 0),
            (
                "webhook_events_dropped",
                "Webhook events for which there was no room",
                webhooks.dropped if webhooks else 0,
            ),
        ):
            yield CounterMetricFamily(f"pusherable_{name}", text, value=value)
        yield _by_label("refusals", "Clients sent away by the code they were given", "code", self._refused)
        yield _by_label("api_requests", "HTTP requests that the server answered itself", "status", self._requests)


def monitoring_routes(
    metrics: Metrics,
    hub: Hub,
    traffic: Traffic,
    *,
    webhooks: "Webhooks | None" = None,
    audience: Audience = "this machine",
) -> list[Route]:
    """``/up`` for all, and for its ``audience`` ``/metrics`` where the package for it is installed."""

    async def up(request: Request) -> Response:
        return PlainTextResponse("OK")

    async def page(request: Request) -> Response:
        if audience != "everybody" and not _is_of_this_machine(request):
            return PlainTextResponse("404 NOT FOUND\n", status_code=404)
        content, content_type = metrics.render(hub, traffic, webhooks)
        return Response(content, headers={"Content-Type": content_type})

    routes = [Route(f"{hub.config.path}/up", up)]
    if audience != "nobody" and is_available():
        routes.append(Route(f"{hub.config.path}/metrics", page))
    return routes


def _is_of_this_machine(request: Request) -> bool:
    """Whether it comes from the loopback interface, and was not passed on by a proxy there."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _by_label(name: str, text: str, label: str, counts: Counter[int]) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(f"pusherable_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([str(int(value))], count)
    return family
