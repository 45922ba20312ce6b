"""What happens at the server, one line of text each, for people who watch it."""

from typing import Final, Literal

from pusherable.server.facts import (
    Broadcast,
    CacheMissed,
    ClientEvent,
    Complained,
    Connected,
    CountChanged,
    Disconnected,
    Fact,
    MemberAdded,
    MemberRemoved,
    Occupied,
    Refused,
    Rejected,
    SignedIn,
    Subscribed,
    Unsubscribed,
    Vacated,
    WebhooksTold,
)

# Characters of what was sent, an event's data for one; the console shows all of that.
_MAX_LENGTH: Final = 300

Tone = Literal["wrong", "arrival", "departure", "event", "note"]


def is_essential(fact: Fact) -> bool:
    """Whether somebody who wants few lines wants this one: something went wrong."""
    return isinstance(fact, Refused | Rejected | Complained)


def tone_of(fact: Fact) -> Tone:
    """How the line should look to somebody who looks at many."""
    match fact:
        case Refused() | Rejected() | Complained():
            return "wrong"
        case Connected() | Subscribed() | Occupied() | MemberAdded() | SignedIn():
            return "arrival"
        case Disconnected() | Unsubscribed() | Vacated() | MemberRemoved():
            return "departure"
        case Broadcast() | ClientEvent():
            return "event"
        case _:
            return "note"


def describe(fact: Fact) -> str:
    """One line, without its time; whatever would not print is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in _write(fact)
    )


def _write(fact: Fact) -> str:
    match fact:
        case Connected(_, socket_id, None):
            return f"{socket_id} connected, naming no protocol: it is taken for 7"
        case Connected(_, socket_id):
            return f"{socket_id} connected"
        case Disconnected(_, socket_id):
            return f"{socket_id} disconnected"
        case Subscribed(_, socket_id, channel, user_id):
            return f"{socket_id} subscribed to {channel}" + (f" as {user_id}" if user_id else "")
        case Unsubscribed(_, socket_id, channel):
            return f"{socket_id} unsubscribed from {channel}"
        case Occupied(_, channel):
            return f"{channel} is occupied"
        case Vacated(_, channel):
            return f"{channel} is vacated"
        case Broadcast(_, channel, event, data, receivers):
            return f"{event} on {channel} to {receivers} {'client' if receivers == 1 else 'clients'}: {_cut(data)}"
        case MemberAdded(_, channel, user_id):
            return f"{user_id} came to {channel}"
        case MemberRemoved(_, channel, user_id):
            return f"{user_id} left {channel}"
        case ClientEvent(_, channel, event, data, socket_id):
            return f"{socket_id} sent {event} on {channel}: {_cut(data)}"
        case CacheMissed(_, channel):
            return f"{channel} remembers no event"
        case CountChanged(_, channel, count):
            return f"{channel} has {count} {'subscriber' if count == 1 else 'subscribers'}"
        case SignedIn(_, socket_id, user_id):
            return f"{socket_id} signed in as {user_id}"
        case Refused(code, reason, socket_id):
            return f"{socket_id or 'A client'} was sent away ({code:d}): {reason}"
        case Rejected(request, status, reason):
            return f"{_cut(request)} was answered by {status}: {_cut(reason)}"
        case WebhooksTold(_, marks):
            return f"{len(marks)} webhook {'event was' if len(marks) == 1 else 'events were'} told"
        case _:
            return f"{fact.socket_id} was told: {fact.reason}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text):,} characters)"
