"""Who has signed in, by which connections, and who wants to know (protocol A.46 to A.53)."""

from collections.abc import Sequence

from pusherable.server.connections import Connection
from pusherable.server.credentials import User
from pusherable.server.messages import Message, signin_success, watchlist_events


class Users:
    """The signed-in users of one app. Online is who has at least one connection."""

    def __init__(self) -> None:
        self._connections: dict[str, dict[Connection, None]] = {}
        self._watchers: dict[str, dict[Connection, None]] = {}
        self._watched: dict[Connection, Sequence[str]] = {}

    def connections_of(self, user_id: str) -> tuple[Connection, ...]:
        return tuple(self._connections.get(user_id, ()))

    def sign_in(self, connection: Connection, user: User, *, watchlist: Sequence[str]) -> None:
        """Take a connection for the user's, whose it may be already; tell it, and those who watch the user."""
        is_back = user.id in self._connections
        connection.user = user
        self._connections.setdefault(user.id, {})[connection] = None
        self._watch(connection, ())
        if not is_back:
            self._tell_watchers(user.id, watchlist_events(online=[user.id]))
        connection.client.deliver(signin_success(user.data))
        self._watch(connection, watchlist)
        if watchlist:
            online = [user_id for user_id in watchlist if user_id in self._connections]
            offline = [user_id for user_id in watchlist if user_id not in self._connections]
            connection.client.deliver(watchlist_events(online=online, offline=offline))

    def sign_out(self, connection: Connection) -> None:
        """Forget a connection, if it is anybody's; tell those who watch its user if it was the last."""
        if connection.user is None:
            return
        self._watch(connection, ())
        connections = self._connections[connection.user.id]
        del connections[connection]
        if not connections:
            del self._connections[connection.user.id]
            self._tell_watchers(connection.user.id, watchlist_events(offline=[connection.user.id]))

    def _tell_watchers(self, user_id: str, message: Message) -> None:
        for connection in self._watchers.get(user_id, ()):
            connection.client.deliver(message)

    def _watch(self, connection: Connection, watchlist: Sequence[str]) -> None:
        """Let ``connection`` watch these users, and no others."""
        for user_id in self._watched.pop(connection, ()):
            watchers = self._watchers[user_id]
            del watchers[connection]
            if not watchers:
                del self._watchers[user_id]
        for user_id in watchlist:
            self._watchers.setdefault(user_id, {})[connection] = None
        if watchlist:
            self._watched[connection] = watchlist
