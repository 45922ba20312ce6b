"""A connected client: its conversation understands what it says, and the hub does it."""

from asyncio import Future

from pusherable.server.connections import Client
from pusherable.server.hub import Hub
from pusherable.server.ledger import Outcome
from pusherable.server.messages import connection_established
from pusherable.server.protocol import (
    CloseCode,
    Command,
    Conversation,
    Objection,
    Refusal,
    Relay,
    Reply,
    Subscribe,
    Unsubscribe,
    find_app,
)


class Session:
    """One client from its opening request on; making one raises ``Refusal`` where it may not come in."""

    __slots__ = ("_connection", "_conversation", "_hub")

    def __init__(self, hub: Hub, client: Client, *, target: str) -> None:
        app, protocol = find_app(target, hub.config)
        self._hub = hub
        self._connection = hub.connect(app, client, protocol=protocol)
        self._conversation = Conversation(app, self.socket_id, hub.config)
        client.deliver(connection_established(self.socket_id, hub.config.activity_timeout))

    @property
    def socket_id(self) -> str:
        return self._connection.socket_id

    @property
    def patience(self) -> float:
        """Seconds of silence after which ``fall_silent`` is due."""
        return self._conversation.patience

    def receive(self, text: str) -> None:
        """Do what the client asks for, or tell it what is wrong."""
        try:
            command = self._conversation.receive(text)
            if command is not None:
                self._carry_out(command)
        except Objection as objection:
            self._hub.object(self._connection, objection)

    def receive_binary(self) -> None:
        """Object: the protocol knows no binary messages (protocol A.12)."""
        self._conversation.hear()
        self._hub.object(self._connection, Objection("Binary messages are not supported"))

    def hear(self) -> None:
        """Note a sign of life that is no message."""
        self._conversation.hear()

    def fall_silent(self) -> None:
        """Ask the client whether it is there; raises ``Refusal`` if it did not answer the last time."""
        self._carry_out(self._conversation.fall_silent())

    def end(self) -> None:
        """Leave the hub; a second time does nothing."""
        self._hub.disconnect(self._connection)

    def _carry_out(self, command: Command) -> None:
        hub, connection = self._hub, self._connection
        outcome: Outcome = None
        match command:
            case Reply(message):
                connection.client.deliver(message)
            case Subscribe(channel, member):
                outcome = hub.subscribe(connection, channel, member)
            case Unsubscribe(channel):
                hub.unsubscribe(connection, channel)
            case Relay():
                hub.relay(connection, command)
            case _:
                outcome = hub.sign_in(connection, command.user)
        if outcome is not None:
            outcome.add_done_callback(self._object_late)

    def _object_late(self, outcome: Future[bool]) -> None:
        """Tell a client what is wrong as soon as the ledger has come to it; a fault of ours is the end."""
        problem = outcome.exception()
        if isinstance(problem, Objection):
            self._hub.object(self._connection, problem)
        elif problem is not None:
            self._connection.client.dismiss(Refusal("The server has failed", code=CloseCode.INTERNAL_ERROR))
