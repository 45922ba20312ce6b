"""The subscribers of one channel, what they are told of each other, and the loop that reaches them all."""

from dataclasses import dataclass, field

from pusherable.server.connections import Connection
from pusherable.server.credentials import Member
from pusherable.server.messages import (
    Message,
    member_added,
    member_removed,
    presence_succeeded,
    subscription_count,
    subscription_succeeded,
)
from pusherable.server.presence import Presence


@dataclass(eq=False, slots=True)
class OccupiedChannel:
    """A channel that somebody is subscribed to; ``presence`` is ``None`` unless its members know of each other.

    The dicts keep the subscribers in the order in which they came: those that are connected to this process, and
    those of other processes.
    """

    name: str
    presence: Presence | None = None
    subscribers: dict[Connection, None] = field(default_factory=dict)
    elsewhere: dict[Connection, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.subscribers) + len(self.elsewhere)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._home_of(connection)

    def broadcast(self, message: Message, *, excluded: Connection | None = None) -> int:
        """Hand out one message; returns to how many. The hot loop of the server: nothing else belongs in it."""
        subscribers = self.subscribers
        if excluded not in subscribers:
            for connection in subscribers:
                connection.client.deliver(message)
            return len(subscribers)
        for connection in subscribers:
            if connection is not excluded:
                connection.client.deliver(message)
        return len(subscribers) - 1

    def add(self, connection: Connection, member: Member | None) -> bool:
        """Let a subscriber in and tell it so; returns whether it brings a user who was not here before."""
        is_new_user = False
        if member is not None and self.presence is not None:
            is_new_user = self.presence.join(connection, member)
            if is_new_user:
                self.broadcast(member_added(self.name, member.user_id, member.user_info))
        self._home_of(connection)[connection] = None
        connection.client.deliver(
            presence_succeeded(self.name, self.presence.members)
            if self.presence is not None
            else subscription_succeeded(self.name)
        )
        return is_new_user

    def remove(self, connection: Connection) -> str | None:
        """Let a subscriber go; returns the user who is not here any more by that, if any."""
        del self._home_of(connection)[connection]
        user_id = None if self.presence is None else self.presence.leave(connection)
        if user_id is not None:
            self.broadcast(member_removed(self.name, user_id))
        return user_id

    def user_of(self, connection: Connection) -> str | None:
        """As whom a subscriber is here, where that is known."""
        return None if self.presence is None else self.presence.user_of(connection)

    def member_of(self, connection: Connection) -> Member | None:
        """What is known of who a subscriber is here, where that is known."""
        return None if self.presence is None else self.presence.member_of(connection)

    def tell_count(self) -> int:
        """Tell all subscribers how many they are, and return it (protocol A.45)."""
        count = len(self)
        self.broadcast(subscription_count(self.name, count))
        return count

    def _home_of(self, connection: Connection) -> dict[Connection, None]:
        return self.subscribers if connection.peer is None else self.elsewhere
