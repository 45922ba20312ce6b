"""What is wrong with what a crowd has lived through, if anything: each function gives sentences, and none is best."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from tests.server.crowds import RESYNC, ROOM, Crowd, Event, Sitting, Visit, now

# Seconds in which what was answered with success has surely been sent on.
_MARGIN = 2.0

Phases = list[tuple[float, float]]


def judge_events(crowd: Crowd, *, may_resync: bool) -> Iterator[str]:
    """Each event's fate. ``may_resync`` is whether a client may be told to look for itself what it missed."""
    for sitting in crowd.sittings:
        heard = Counter((item.id, item.channel) for item in sitting.heard if item.id != RESYNC)
        for id, channel in heard:
            is_known = channel == ROOM if id in crowd.whispers else channel in crowd.events[id].channels
            if not is_known:
                yield f"{sitting.client} heard {id} on {channel}, where nobody has sent it"
        for event in crowd.events.values():
            for channel in event.channels:
                count = heard[event.id, channel]
                if event.is_plain and count > 1:
                    yield f"{sitting.client} heard {_tell(event)} {count} times on {channel}"
                if not count and _is_owed(sitting, event, channel) and not (may_resync and _told(sitting, event)):
                    yield f"{sitting.client} never heard {_tell(event)} on {channel}"


def judge_resyncs(crowd: Crowd, since: float) -> Iterator[str]:
    """All who were there before, and are still, were told to look for themselves, of each channel."""
    for sitting in crowd.sittings:
        told = {item.channel for item in sitting.heard if item.id == RESYNC and item.time >= since}
        if sitting.is_there(since, now()) and not told.issuperset(sitting.channels):
            missing = sorted(set(sitting.channels) - told)
            yield f"{sitting.client} was not told that it may have missed something on {missing}"


def judge_order(crowd: Crowd) -> Iterator[str]:
    """All clients hear the events of a channel in one order, which is that of each publisher."""
    plain = {id: event for id, event in crowd.events.items() if event.is_plain}
    orders: dict[str, list[tuple[str, dict[str, int]]]] = defaultdict(list)
    for sitting in crowd.sittings:
        for channel in sitting.channels:
            ids = [item.id for item in sitting.heard if item.channel == channel and item.id in plain]
            orders[channel].append((sitting.client, {id: place for place, id in enumerate(ids)}))
            yield from _judge_publishers(sitting, channel, [plain[id] for id in ids])
    for channel, heard in orders.items():
        for (one, first), (other, second) in combinations(heard, 2):
            common = [id for id in first if id in second]
            if common != sorted(common, key=second.__getitem__):
                yield f"{one} and {other} heard the events of {channel} in different orders"


def judge_whispers(crowd: Crowd, quiet: Phases) -> Iterator[str]:
    """Client events reach everybody else, and nobody twice."""
    for sitting in crowd.sittings:
        if ROOM not in sitting.channels:
            continue
        heard = Counter(item.id for item in sitting.heard)
        for id, (sender, time) in crowd.whispers.items():
            if sender is sitting and heard[id]:
                yield f"{sitting.client} heard its own {id}"
            is_owed = sender is not sitting and _is_within(quiet, time, time + _MARGIN)
            if is_owed and sitting.is_there(time, time + _MARGIN) and sender.is_there(time, time + _MARGIN):
                if heard[id] != 1:
                    yield f"{sitting.client} heard {id} of {sender.client} {heard[id]} times"
            elif heard[id] > 1:
                yield f"{sitting.client} heard {id} {heard[id]} times"


def judge_changes(crowd: Crowd, quiet: Phases) -> Iterator[str]:
    """Members come and go in turns, and once each while nothing is in the way."""
    for sitting in crowd.sittings:
        members, changes = set(sitting.found), defaultdict(list)
        for change, user, _ in sitting.changes:
            if (change == "added") == (user in members):
                yield f"{sitting.client} was told twice that {user} was {change}"
            (members.add if change == "added" else members.discard)(user)
            changes[user].append(change)
        for visit in orderly_visits(crowd, quiet):
            is_told = ROOM in sitting.channels and sitting.is_there(visit.asked, (visit.left or 0) + _MARGIN)
            if is_told and changes[visit.user] != ["added", "removed"]:
                yield f"{sitting.client} was told of {visit.user}: {changes[visit.user]}"


def judge_presence(
    crowd: Crowd, users: dict[int, set[str] | None], channels: dict[int, set[str] | None]
) -> Iterator[str]:
    """Who is in the room and what is occupied is what everybody says, ``users`` and ``channels`` being the API's."""
    present = crowd.present
    for place, found in users.items():
        if found != present:
            yield f"Process {place} has {_compare(found, present)} in the room"
    for sitting in crowd.sittings:
        if ROOM in sitting.channels and sitting.ended == float("inf") and sitting.members != present:
            yield f"{sitting.client} has {_compare(sitting.members, present)} in the room"
    staying = {visit.channel for visit in crowd.visits if visit.is_staying and visit.left is None}
    occupied = staying.union(*(sitting.channels for sitting in crowd.sittings))
    for place, found in channels.items():
        if found != occupied:
            yield f"Process {place} has {_compare(found, occupied)} as occupied channels"


def judge_webhooks(
    crowd: Crowd,
    bodies: Iterable[bytes],
    quiet: Phases,
    *,
    more: Iterable[Visit] = (),
    faithful: Iterable[str] = (),
    at_most_once: bool = False,
) -> Iterator[str]:
    """Whatever happens while nothing is in the way is told once; and ``more`` visits, but of the ``faithful`` nothing
    but that they came. Whether all others are told ``at_most_once`` depends on what was in the way.
    """
    told = Counter(
        (event["name"], event.get("channel"), event.get("user_id"), event.get("data"))
        for body in list(bodies)
        for event in json.loads(body)["events"]
    )
    for visit in [*orderly_visits(crowd, quiet), *more]:
        for name, channel, user in (
            ("channel_occupied", visit.channel, None),
            ("channel_vacated", visit.channel, None),
            ("member_added", ROOM, visit.user),
            ("member_removed", ROOM, visit.user),
        ):
            if told[name, channel, user, None] != 1:
                yield f"The webhook {name} of {visit.user} was sent {told[name, channel, user, None]} times"
    for visit in crowd.visits if at_most_once else ():
        counts = {key: count for key, count in told.items() if visit.channel in key or visit.user in key}
        if max(counts.values(), default=0) > 1:
            yield f"Webhooks of {visit.user} were sent more than once: {counts}"
    for user in faithful:
        if (told["member_added", ROOM, user, None], told["member_removed", ROOM, user, None]) != (1, 0):
            yield f"Webhooks told that {user} came or went, which was never away for long"
    for id, (sender, time) in crowd.whispers.items():
        count = told["client_event", ROOM, sender.client, json.dumps({"id": id}, separators=(",", ":"))]
        is_owed = _is_within(quiet, time, time + _MARGIN) and sender.is_there(time, time + _MARGIN)
        if is_owed and count != 1:
            yield f"The webhook client_event of {id} was sent {count} times"


def orderly_visits(crowd: Crowd, quiet: Phases) -> list[Visit]:
    """Those that came and went as they wanted, while nothing was in the way."""
    return [
        visit
        for visit in crowd.visits
        if visit.is_orderly and visit.left is not None and _is_within(quiet, visit.asked, visit.left)
    ]


def _judge_publishers(sitting: Sitting, channel: str, events: list[Event]) -> Iterator[str]:
    latest: dict[str, Event] = {}
    for event in events:
        before = latest.get(event.publisher)
        if before is not None and before.attempts[0].began > event.attempts[0].began:
            yield f"{sitting.client} heard {before.id} before {event.id} on {channel}, which was published before"
        latest[event.publisher] = event


def _is_owed(sitting: Sitting, event: Event, channel: str) -> bool:
    success = event.success
    return (
        success is not None
        and channel in sitting.channels
        and sitting.is_there(event.attempts[0].began, success.ended + _MARGIN)
    )


def _told(sitting: Sitting, event: Event) -> bool:
    """Whether a client was told that it may have missed something on all channels of an event, after it."""
    since = event.attempts[0].began
    told = {item.channel for item in sitting.heard if item.id == RESYNC and item.time >= since}
    return told.issuperset(set(event.channels) & set(sitting.channels))


def _is_within(phases: Phases, began: float, ended: float) -> bool:
    return any(since <= began and ended <= until for since, until in phases)


def _tell(event: Event) -> str:
    attempts = ", ".join(
        f"{item.status} by {item.place} after {item.ended - item.began:.2f} s" for item in event.attempts
    )
    return f"{event.id} ({attempts})"


def _compare(found: set[str] | None, truth: set[str]) -> str:
    if found is None:
        return "no idea of who or what is"
    return f"{sorted(found - truth)} too many, and misses {sorted(truth - found)}"
