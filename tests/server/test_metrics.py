import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from pusherable.server import metrics as metrics_module
from pusherable.server.facts import Broadcast, ClientEvent, Connected, Refused
from pusherable.server.hooks import Webhooks
from pusherable.server.listener import Traffic
from pusherable.server.metrics import Metrics, monitoring_routes
from tests.server.conftest import APP, ask


@pytest.fixture
def metrics():
    return Metrics()


def read(content):
    """Every sample by its name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(content)
        for sample in family.samples
    }


class TestMetrics:
    def test_everything_is_counted(self, metrics, hub, client):
        connection = hub.connect(APP, client)
        hub.subscribe(connection, "a")
        hub.subscribe(connection, "b")
        for fact in [
            Broadcast("1", "a", "e", "{}", 3),
            Broadcast("1", "b", "e", "{}", 4),
            Broadcast("1", "c", "e", "{}", 1, is_ours=False),
            ClientEvent("1", "private-a", "client-e", "{}", "1.1"),
            Refused(4100, "You read too slowly", "1.1"),
            Refused(4100, "The server has no room for more connections"),
            Refused(4001, "No such app"),
            Refused(4001, "No such app"),
            Connected("1", "1.1"),
        ]:
            metrics.observe(fact)
        for status in (200, 200, 401):
            metrics.count_request(status)
        webhooks = Webhooks(APP, lambda body, headers: 200)
        webhooks.sent, webhooks.failed, webhooks._queue.dropped = 5, 6, 7
        content, content_type = metrics.render(hub, Traffic(received=9), webhooks)
        assert content_type.startswith("text/plain; ")
        assert read(content.decode()) == {
            ("pusherable_connections", "1"): 1,
            ("pusherable_channels", "1"): 2,
            ("pusherable_processes",): 1,
            ("pusherable_alone",): 0,
            ("pusherable_messages_received_total",): 9,
            ("pusherable_messages_sent_total",): 8,
            ("pusherable_events_published_total",): 2,
            ("pusherable_client_events_total",): 1,
            ("pusherable_slow_readers_closed_total",): 1,
            ("pusherable_webhooks_sent_total",): 5,
            ("pusherable_webhooks_failed_total",): 6,
            ("pusherable_webhook_events_dropped_total",): 7,
            ("pusherable_refusals_total", "4001"): 2,
            ("pusherable_refusals_total", "4100"): 2,
            ("pusherable_api_requests_total", "200"): 2,
            ("pusherable_api_requests_total", "401"): 1,
        }

    def test_an_event_counts_at_the_process_where_it_was_published(self, metrics, hub):
        metrics.observe(Broadcast("1", "a", "e", "{}", 3, is_ours=False))
        content, _ = metrics.render(hub, Traffic(), None)
        counts = read(content.decode())
        assert counts[("pusherable_messages_sent_total",)] == 3
        assert counts[("pusherable_events_published_total",)] == 0

    def test_without_webhooks_there_are_none(self, metrics, hub):
        content, _ = metrics.render(hub, Traffic(), None)
        assert read(content.decode())[("pusherable_webhooks_sent_total",)] == 0


class TestMonitoringRoutes:
    @pytest.fixture
    def visit(self, metrics, hub):
        """Ask for an address as a client with an address of its own, or none."""

        def visit(path, *, client=("127.0.0.1", 5), headers=(), **options):
            app = Starlette(routes=monitoring_routes(metrics, hub, Traffic(), **options))

            async def come(scope, receive, send):
                scope = scope | {"client": client, "headers": [*scope["headers"], *headers]}
                await app(scope, receive, send)

            return ask(come, "GET", path)

        return visit

    @pytest.mark.parametrize("client", [("127.0.0.1", 5), ("192.0.2.1", 5)])
    def test_it_is_up_for_everybody(self, visit, client):
        answer = visit("/up", client=client)
        assert (answer.status_code, answer.text) == (200, "OK")

    @pytest.mark.parametrize("client", [("127.0.0.1", 5), ("::1", 5), ("127.8.9.1", 5)])
    def test_this_machine_may_see_what_is_counted(self, visit, client):
        assert "pusherable_connections" in visit("/metrics", client=client).text

    @pytest.mark.parametrize(
        ("client", "headers"),
        [
            (("192.0.2.1", 5), []),
            (("a name", 5), []),
            (None, []),
            (("127.0.0.1", 5), [(b"x-forwarded-for", b"127.0.0.1")]),
            (("127.0.0.1", 5), [(b"forwarded", b"for=192.0.2.1")]),
        ],
    )
    def test_others_may_not_unless_it_is_public(self, visit, client, headers):
        answer = visit("/metrics", client=client, headers=headers)
        assert (answer.status_code, answer.text) == (404, "404 NOT FOUND\n")
        assert "pusherable_connections" in visit("/metrics", client=client, headers=headers, audience="everybody").text

    def test_it_may_be_for_nobody(self, visit):
        assert visit("/metrics", audience="nobody").status_code == 404

    def test_without_the_package_there_is_no_page(self, visit, monkeypatch):
        monkeypatch.setattr(metrics_module, "find_spec", lambda name: None)
        assert visit("/metrics").status_code == 404
        assert visit("/up").status_code == 200
