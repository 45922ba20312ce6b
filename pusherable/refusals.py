"""Why somebody may not listen: one code and one sentence each, and no visitor is told which but under ``DEBUG``."""

import enum
import logging

from django.core.exceptions import PermissionDenied

from pusherable.exceptions import PusherableError


class Reason(enum.Enum):
    """Why a channel was not signed; the value is the code, ``sentence`` says what it means and what to mend."""

    MALFORMED_REQUEST = (
        "malformed-request",
        "The form is neither channel_name with socket_id, nor channel_name[0], channel_name[1]… with socket_id.",
    )
    TOO_MANY_CHANNELS = "too-many-channels", "These are more channels than one request, or one stream, may have."
    MALFORMED_SOCKET_ID = "malformed-socket-id", "A connection's id is two numbers and a dot, such as 123.456."
    INVALID_CHANNEL = "invalid-channel", "No service would take this for the name of a channel."
    PUBLIC_CHANNEL = "public-channel", "Everybody may listen on this channel: nothing is to be signed."
    RESERVED_CHANNEL = "reserved-channel", "The service itself decides about a user's own channel, by the sign-in."
    OTHER_USER = "other-user", "Only the user itself may listen to a user's own channel."
    ENCRYPTED_STREAM = (
        "encrypted-stream",
        "Browsers cannot read an encrypted channel without pusher-js: it takes a WebSocket.",
    )
    OTHER_MEMBER_INFO = (
        "other-member-info",
        "A stream is one member: the presence channels of one page have to be told the same of its visitor.",
    )
    NO_SERVICE = "no-service", "The service is not configured: see manage.py check."
    NO_ENCRYPTION_KEY = "no-encryption-key", "The channel is encrypted, but PUSHER_ENCRYPTION_MASTER_KEY is not set."
    ANONYMOUS = "anonymous", "Only who has logged in is a member of a presence channel, or can be signed in."
    UNUSABLE_MEMBER_INFO = (
        "unusable-member-info",
        "What is told of a member is a dictionary that JSON can hold, within 1024 bytes: mend the rule, "
        "get_pusher_member_info() or PUSHERABLE_MEMBER_INFO.",
    )
    RULE_REFUSED = "rule-refused", "A rule for this channel says no."
    RULE_SILENT = (
        "rule-silent",
        "A rule has returned None, which lets nobody in. Has it lost its return? To say no, it returns False.",
    )
    RULE_MALFORMED = "rule-malformed", "A rule returns True, False or a dictionary, and nothing else."
    RULE_FAILED = "rule-failed", "A rule for this channel has raised an error."
    MALFORMED_PAGE = "malformed-page", "A page is a path of this site and its query, such as /posts/1/."
    UNKNOWN_PAGE = "unknown-page", "No view of this site is at the page's address."
    UNASKABLE_VIEW = (
        "unaskable-view",
        "The page's view cannot be asked: a class-based view with a mixin of pusherable.mixins can, and each of its "
        "decorators has to use functools.wraps. Otherwise write a rule in channels.py.",
    )
    NESTED_VIEW = "nested-view", "The page's view calls another view: write a rule in channels.py."
    REDIRECTED = "redirected", "The page's view sends the visitor elsewhere."
    FORBIDDEN = "forbidden", "The page's view forbids the visitor its page."
    NOT_FOUND = "not-found", "The page's view finds nothing to show to the visitor."
    OTHER_RESPONSE = "other-response", "The page's view has answered before it came to its object."
    VIEW_FAILED = "view-failed", "The page's view has raised an error."
    OTHER_OBJECT = "other-object", "The page shows something else than what the channel is about."
    NO_OBJECT = "no-object", "There is no such object."
    NO_PERMISSION = "no-permission", "The visitor lacks the model's view permission."
    NO_RULE = "no-rule", "No rule, no page and no model is about this channel: write a rule in channels.py."

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence

    @property
    def level(self) -> int:
        """What the log makes of it: a warning is for whoever wrote the site, the rest is daily life."""
        return logging.WARNING if self in _FAULTS_OF_THE_SITE else logging.INFO


_FAULTS_OF_THE_SITE = frozenset(
    {
        Reason.NO_SERVICE,
        Reason.NO_ENCRYPTION_KEY,
        Reason.UNUSABLE_MEMBER_INFO,
        Reason.RULE_SILENT,
        Reason.RULE_MALFORMED,
        Reason.RULE_FAILED,
        Reason.UNASKABLE_VIEW,
        Reason.NESTED_VIEW,
        Reason.VIEW_FAILED,
    }
)


class Refused(PusherableError, PermissionDenied):
    """A visitor may not listen; ``reason`` says why, ``detail`` adds what is particular to this time."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.sentence} {detail}".rstrip())
        self.reason = reason
        self.detail = detail
