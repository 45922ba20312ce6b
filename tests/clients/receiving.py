"""Where the server's webhooks arrive."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Key, signature and body of one request.
Webhook = tuple[str, str, str]


class WebhookReceiver:
    """Keeps every webhook that it is sent, in order."""

    def __init__(self) -> None:
        self._webhooks: list[Webhook] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver._keep((self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def wait_for(self, event: dict[str, str], *, timeout: float = 15) -> list[Webhook]:
        """All webhooks so far, as soon as one has brought ``event``."""

        def has_arrived() -> bool:
            return any(event in json.loads(body)["events"] for _, _, body in self._webhooks)

        with self._arrived:
            assert self._arrived.wait_for(has_arrived, timeout), self._webhooks
            return list(self._webhooks)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _keep(self, webhook: Webhook) -> None:
        with self._arrived:
            self._webhooks.append(webhook)
            self._arrived.notify_all()
