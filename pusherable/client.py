"""The ``pusher`` package lives here and nowhere else: one long-lived client per process and credentials.

It is imported at first use: it costs 20 MB and a tenth of a second (protocol F.14).
"""

import base64
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from pusherable.channels import kind_of, validate_channel
from pusherable.conf import Service, SettingsError, bracketed, settings
from pusherable.diagnosis import Answer, address_of, explain_answer, explain_nonsense
from pusherable.encryption import seal, shared_secret
from pusherable.events import IDS_HEADER, MAX_BATCH, Event
from pusherable.exceptions import DeliveryFailed, InvalidChannel
from pusherable.signing import request_parameters
from pusherable.transport import get_transport

if TYPE_CHECKING:
    from pusher import Pusher
    from pusher.http import Request

_clients: dict[tuple[Service, bytes | None], "Pusher"] = {}

# A fork in the middle of another thread's import leaves the child with a module that it waits for, for ever.
_importing = threading.Lock()
os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)

# A pooled connection must not be shared with the process it was forked from.
os.register_at_fork(after_in_child=_clients.clear)


def get_client() -> "Pusher":
    """The configured ``pusher`` client, made once per process and credentials; threads may share it.

    Raises ``SettingsError`` where no service is configured. Its calls raise the errors of
    ``pusher.errors`` where the service refuses, and ``DeliveryFailed`` where it gives no answer.
    """
    _import_once()
    known = (settings.service, settings.encryption_master_key)
    return _clients.get(known) or _clients.setdefault(known, _make_client(*known))


def deliver(events: Sequence[Event]) -> None:
    """Hand events to the service in one request, their order kept: one event, or up to 10 channels' worth.

    What goes to encrypted channels is sealed for each of them. One event for several of those may take more than
    one request; if a later one fails, the earlier ones have been heard.

    Raises ``SettingsError`` where no service is configured, or no key for an encrypted channel, and
    ``DeliveryFailed`` whose ``reason`` is ``unreachable``, ``timeout``, ``tls``, ``bad-answer``, ``bad-request``,
    ``unauthorized``, ``clock``, ``forbidden``, ``not-found``, ``too-large``, ``rate-limited`` or ``service-error``.
    """
    client = get_client()
    requests = list(_compose_requests(events))
    from pusher.errors import PusherError
    from pusher.http import POST, Request

    sender = client._pusher_client
    for path, body, ids in requests:
        request = Request(sender, POST, f"/apps/{sender.app_id}/{path}", body)
        request.event_ids = ids
        try:
            sender.http.send_request(request)
        except PusherError as error:
            raise explain_answer(error.answer, settings.service) from error


def disconnect_user(user_id: str) -> None:
    """Send away every connection that is signed in as this user, at once; they do not come back by themselves.

    Raises what ``deliver`` does, and ``ValueError`` for an id that is empty.
    """
    if not user_id:
        raise ValueError("A user's id is a text that is not empty.")
    # The package's own call misses the app (protocol F.5).
    _ask("POST", f"users/{user_id}/terminate_connections", body=b"{}")


def members(channel: str) -> list[str]:
    """The ids of the users in a presence channel, each once; raises what ``deliver`` does."""
    if not kind_of(validate_channel(channel)).is_presence:
        raise InvalidChannel(f"{channel!r} is no presence channel, and has no members.", channel=channel)
    try:
        answer = _ask("GET", f"channels/{channel}/users")
    except DeliveryFailed as error:
        # Reverb knows no channel that is empty (protocol G.1).
        if error.status == 404:
            return []
        raise
    users = answer.get("users")
    return (
        [str(user["id"]) for user in users if isinstance(user, dict) and "id" in user]
        if isinstance(users, list)
        else []
    )


def channel_info(channel: str, info: Iterable[str] = ()) -> dict[str, Any]:
    """What the service tells of a channel: ``occupied``, and those of ``info`` that it knows.

    ``info`` names ``user_count`` (of presence channels), ``subscription_count`` and ``cache``. Raises what
    ``deliver`` does.
    """
    attributes = ",".join(info)
    query = {"info": attributes} if attributes else {}
    return _ask("GET", f"channels/{validate_channel(channel)}", query=query)


def channel_shared_secret(channel: str) -> str:
    """The secret of one encrypted channel, in base64, for those who may subscribe to it (protocol D.5).

    Raises ``SettingsError`` where there is no master key, and ``InvalidChannel`` for a channel of another kind.
    """
    if not kind_of(validate_channel(channel)).is_encrypted:
        raise InvalidChannel(f"{channel!r} is no encrypted channel, and has no secret.", channel=channel)
    return base64.b64encode(shared_secret(channel, _master_key(channel))).decode()


def _master_key(channel: str) -> bytes:
    key = settings.encryption_master_key
    if key is None:
        raise SettingsError(
            f"{channel!r} is encrypted, and PUSHER_ENCRYPTION_MASTER_KEY is not set. `openssl rand -base64 32` "
            "makes one.",
            setting="PUSHER_ENCRYPTION_MASTER_KEY",
        )
    return key


def _compose_requests(events: Sequence[Event]) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """For each request the path below the app, the body, and the ids of the events in it."""
    if len(events) == 1:
        yield from _compose_one(events[0])
        return
    batch = [_entry(event, channel) for event in events for channel in event.channels]
    if len(batch) > MAX_BATCH:
        raise ValueError(f"These events make a batch of {len(batch)}; {MAX_BATCH} is the limit.")
    yield "batch_events", {"batch": batch}, [event.id for event in events for _ in event.channels]


def _compose_one(event: Event) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    encrypted = [channel for channel in event.channels if kind_of(channel).is_encrypted]
    readable = [channel for channel in event.channels if channel not in encrypted]
    if readable:
        yield "events", {"name": event.name, "channels": readable, "data": event.data, **_exclusion(event)}, [event.id]
    # Each channel has a secret of its own, and so a text of its own.
    for start in range(0, len(encrypted), MAX_BATCH):
        entries = [_entry(event, channel) for channel in encrypted[start : start + MAX_BATCH]]
        yield "batch_events", {"batch": entries}, [event.id] * len(entries)


def _entry(event: Event, channel: str) -> dict[str, str]:
    """An entry of a batch, which names one channel (protocol B.18)."""
    is_encrypted = kind_of(channel).is_encrypted
    data = seal(channel, event.data, _master_key(channel)) if is_encrypted else event.data
    return {"name": event.name, "channel": channel, "data": data, **_exclusion(event)}


def _exclusion(event: Event) -> dict[str, str]:
    return {} if event.socket_id is None else {"socket_id": event.socket_id}


def _ask(method: str, path: str, *, query: dict[str, str] | None = None, body: bytes = b"") -> dict[str, Any]:
    """A request below the app, signed by ourselves, and the object that it is answered with."""
    _import_once()
    service = settings.service
    path = f"/apps/{service.app_id}/{path}"
    answer = _exchange(service, method, path, query=query or {}, body=body, headers=_OWN_HEADERS)
    if not answer.is_success:
        raise explain_answer(answer, service)
    content = _read_answer(answer, service)
    if not isinstance(content, dict):
        raise explain_nonsense(answer, service)
    return content


_OWN_HEADERS: Final = {"X-Pusher-Library": "django-pusherable", "Content-Type": "application/json"}


def _exchange(
    service: Service, method: str, path: str, *, query: dict[str, str], body: bytes, headers: dict[str, str]
) -> Answer:
    parameters = request_parameters(
        method,
        path,
        key=service.key,
        secret=service.secret,
        timestamp=int(time.time()),
        body=body,
        query=query,
    )
    # Signed as they are, escaped on the way (protocol B.5).
    url = f"{address_of(service)}{quote(path, safe='/=@,;')}?{urlencode(parameters, safe=',')}"
    return get_transport(service).exchange(method, url, body=body or None, headers=headers)


def _read_answer(answer: Answer, service: Service) -> Any:
    """Whatever stands in an answer of success: services differ, and some say nothing (protocol G.1)."""
    if not answer.text.strip():
        return {}
    try:
        return json.loads(answer.text)
    except ValueError as error:
        raise explain_nonsense(answer, service) from error


@cache
def _import_once() -> None:
    with _importing:
        # The last one is for the look-up of a host's name.
        for name in ("pusher", "urllib3", "encodings.idna"):
            import_module(name)


def _make_client(service: Service, master_key: bytes | None) -> "Pusher":
    from pusher import Pusher

    backend = _Backend(service)
    return Pusher(
        app_id=service.app_id,
        key=service.key,
        secret=service.secret,
        ssl=service.ssl,
        host=bracketed(service.host),
        port=service.port,
        timeout=service.timeout,
        encryption_master_key_base64=base64.b64encode(master_key).decode() if master_key else None,
        json_encoder=settings.json_encoder,
        # `Pusher` makes two clients inside; they share one pool.
        backend=lambda client: backend,
    )


class _Backend:
    """Sends what ``pusher`` has made, over our own connections."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def send_request(self, request: "Request") -> Any:
        from pusher.errors import PusherError
        from pusher.http import process_response

        answer = self._exchange(request)
        if answer.is_success:
            return _read_answer(answer, self._service)
        try:
            return process_response(answer.status, answer.text)
        except PusherError as refusal:
            refusal.status, refusal.answer = answer.status, answer
            raise

    def _exchange(self, request: "Request") -> Answer:
        is_misplaced = request.path.startswith("/users/")
        if request.method == "POST" and not is_misplaced:
            ids = getattr(request, "event_ids", None)
            headers = request.headers | ({IDS_HEADER: ",".join(ids)} if ids else {})
            return get_transport(self._service).exchange(
                request.method, request.url, body=request.body, headers=headers
            )
        # Servers refuse a GET that vouches for a body, and a user without an app (protocol F.5, F.6).
        path = f"/apps/{self._service.app_id}{request.path}" if is_misplaced else request.path
        own = ("auth_", "body_md5")
        query = {name: value for name, value in request.query_params.items() if not name.startswith(own)}
        return _exchange(self._service, request.method, path, query=query, body=request.body, headers=request.headers)
