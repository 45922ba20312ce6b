"""The app's own site, as clients need it: it vouches for whoever they say they are (protocol D), and has a page."""

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pusherable.channels import kind_of
from pusherable.pusherjs import VENDOR
from pusherable.signing import channel_message, sign, user_message

KEY = "test-key"
SECRET = "test-secret"
MASTER_KEY = bytes(range(32))

PAGE = (
    "<!doctype html><title>Test</title><link rel=icon href=data:,>"
    "<script src=/pusher.js></script><script src=/driving.js></script>"
)
SCRIPTS = {
    "/pusher.js": VENDOR / "pusher-with-encryption.min.js",
    "/driving.js": Path(__file__).with_name("driving.js"),
}

#: Whom the site vouches for nowhere.
STRANGER = "mallory"
#: Whose signatures are made with another secret.
FORGER = "trudy"


class Site:
    """Answers at ``url`` until it is closed."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in SCRIPTS:
                    reply(self, 200, "text/javascript", SCRIPTS[self.path].read_bytes())
                else:
                    reply(self, 200, "text/html", PAGE.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = vouch(self.path, dict(parse_qsl(body)))
                status = 403 if answer is None else 200
                reply(self, status, "application/json", json.dumps(answer or {}).encode())

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", f"{kind}; charset=utf-8")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def vouch(path: str, form: Mapping[str, str]) -> dict[str, str] | None:
    """What pusher-js is answered; nothing for the stranger (protocol D.1 to D.3)."""
    if form["user"] == STRANGER:
        return None
    return vouch_for_user(form) if path.endswith("user-auth") else vouch_for_channel(form)


def vouch_for_channel(form: Mapping[str, str]) -> dict[str, str]:
    channel = form["channel_name"]
    answer = {}
    if kind_of(channel).is_presence:
        answer["channel_data"] = json.dumps({"user_id": form["user"], "user_info": {"name": form["user"].title()}})
    if kind_of(channel).is_encrypted:
        shared = hashlib.sha256(channel.encode() + MASTER_KEY).digest()
        answer["shared_secret"] = base64.b64encode(shared).decode()
    secret = SECRET if form["user"] != FORGER else "a guess"
    signature = sign(secret, channel_message(form["socket_id"], channel, answer.get("channel_data")))
    return {"auth": f"{KEY}:{signature}", **answer}


def vouch_for_user(form: Mapping[str, str]) -> dict[str, str]:
    watchlist = form.get("watchlist", "").split()
    user_data = json.dumps({"id": form["user"], "user_info": {"name": form["user"].title()}, "watchlist": watchlist})
    return {"auth": f"{KEY}:{sign(SECRET, user_message(form['socket_id'], user_data))}", "user_data": user_data}
