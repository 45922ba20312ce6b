"""How each client came in: its opening request, kept as long as it is connected, for those who ask for it."""

from dataclasses import dataclass

from pusherable.server.facts import Disconnected, Fact


@dataclass(frozen=True, slots=True)
class Opening:
    """The request that opened a connection; ``target`` is path and query."""

    target: str
    headers: tuple[tuple[str, str], ...]
    #: Address and port, as far as they are known.
    peer: tuple[str, int] | tuple[()]
    is_secure: bool


class Openings(dict[str, Opening]):
    """By socket id. A server that is given one fills it: about a kilobyte for each browser.

    An opening is there before its client subscribes, and still there when the client's last subscription ends:
    ``observe`` is for a hub, behind all observers that look things up here.
    """

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, Disconnected):
            self.pop(fact.socket_id, None)
