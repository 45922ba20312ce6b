"""What happens at the server, one line of text each, for people who watch it."""

from pusherable.server.facts import (
    Broadcast,
    Complained,
    Connected,
    Disconnected,
    Fact,
    Occupied,
    Refused,
    Subscribed,
    Unsubscribed,
    Vacated,
)


def is_essential(fact: Fact) -> bool:
    """Whether somebody who wants few lines wants this one: something went wrong."""
    return isinstance(fact, Refused | Complained)


def describe(fact: Fact) -> str:
    """One line, without its time; whatever would not print is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in _write(fact)
    )


def _write(fact: Fact) -> str:
    match fact:
        case Connected(_, socket_id):
            return f"{socket_id} connected"
        case Disconnected(_, socket_id):
            return f"{socket_id} disconnected"
        case Subscribed(_, socket_id, channel):
            return f"{socket_id} subscribed to {channel}"
        case Unsubscribed(_, socket_id, channel):
            return f"{socket_id} unsubscribed from {channel}"
        case Occupied(_, channel):
            return f"{channel} is occupied"
        case Vacated(_, channel):
            return f"{channel} is vacated"
        case Broadcast(_, channel, event, data, receivers):
            return f"{event} on {channel} to {receivers} {'client' if receivers == 1 else 'clients'}: {data}"
        case Refused(code, reason, socket_id):
            return f"{socket_id or 'A client'} was sent away ({code:d}): {reason}"
        case Complained(_, socket_id, reason):
            return f"{socket_id} was told: {reason}"
