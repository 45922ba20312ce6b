"""Who is in a presence channel: users, each by way of one connection or more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pusherable.server.connections import Connection
from pusherable.server.credentials import Member


@dataclass(eq=False, slots=True)
class _Attendance:
    member: Member
    connections: set[Connection] = field(default_factory=set)


class Presence:
    """The members of one channel; a user counts once, however many connections it has (protocol A.33)."""

    __slots__ = ("_attendances", "_user_ids")

    def __init__(self) -> None:
        self._attendances: dict[str, _Attendance] = {}
        self._user_ids: dict[Connection, str] = {}

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._attendances

    def __len__(self) -> int:
        return len(self._attendances)

    @property
    def members(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each user, by its id."""
        return {user_id: attendance.member.user_info for user_id, attendance in self._attendances.items()}

    def user_of(self, connection: Connection) -> str:
        """As whom a connection is here."""
        return self._user_ids[connection]

    def member_of(self, connection: Connection) -> Member:
        """What is known of the user that a connection is here."""
        return self._attendances[self._user_ids[connection]].member

    def join(self, connection: Connection, member: Member) -> bool:
        """Let a connection in; returns whether its user was not here before.

        What the latest connection says of a user is what later members are told (protocol A.35).
        """
        is_new = member.user_id not in self._attendances
        if is_new:
            self._attendances[member.user_id] = _Attendance(member)
        attendance = self._attendances[member.user_id]
        attendance.member = member
        attendance.connections.add(connection)
        self._user_ids[connection] = member.user_id
        return is_new

    def leave(self, connection: Connection) -> str | None:
        """Let a connection go; returns its user if that was the last connection of it (protocol A.34)."""
        user_id = self._user_ids.pop(connection)
        attendance = self._attendances[user_id]
        attendance.connections.remove(connection)
        if attendance.connections:
            return None
        del self._attendances[user_id]
        return user_id
