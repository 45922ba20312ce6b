"""Who is here now: the members of presence channels, as the service knows them."""

from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.db.models import Model

from pusherable import client
from pusherable.channels import ChannelKind, kind_of
from pusherable.exceptions import InvalidChannel
from pusherable.publishing import channel_of

Target = Model | type[Model] | str


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Whether anybody is in a presence channel, and how many users, each counted once."""

    is_occupied: bool
    user_count: int


def presence_channel(target: Target) -> str:
    """The presence channel of an object (``presence-post_1``) or of a model; a name is returned as it is.

    Raises ``InvalidChannel`` for the name of a channel of another kind.
    """
    channel = channel_of(target, kind=ChannelKind.PRESENCE)
    if not kind_of(channel).is_presence:
        raise InvalidChannel(f"{channel!r} is no presence channel: their names begin with presence-.", channel=channel)
    return channel


def members(target: Target) -> list[str]:
    """The ids of the users who have this object open now, as text, each once; nobody is an empty list.

    It is asked of the service, which takes a request of up to ``PUSHER_TIMEOUT`` seconds; what it says may be old by
    the time that you read it. ``target`` is an object, a model, or the name of a presence channel. Raises
    ``DeliveryFailed`` with its ``reason`` where the service does not answer, ``SettingsError`` where there is none,
    and ``InvalidChannel``.
    """
    return client.members(presence_channel(target))


async def amembers(target: Target) -> list[str]:
    """As ``members``, from async code."""
    return await sync_to_async(members)(target)


def occupancy(target: Target) -> Occupancy:
    """How many users have this object open now, without their names; raises what ``members`` does."""
    answer = client.channel_info(presence_channel(target), ["user_count"])
    # Some services leave out what is zero (protocol G.1).
    count = answer.get("user_count") or 0
    return Occupancy(is_occupied=bool(answer.get("occupied")) or count > 0, user_count=count)


async def aoccupancy(target: Target) -> Occupancy:
    """As ``occupancy``, from async code."""
    return await sync_to_async(occupancy)(target)
