"""Who may listen to channels that no page shows. A post's own channel needs no rule: its page decides."""

from typing import Any

from django.http import HttpRequest

from pusherable.authorization import authorize


@authorize("post")
def may_hear_of_new_posts(request: HttpRequest, channel: str) -> bool:
    """Everybody: what is announced there is printed."""
    return True


@authorize("newsroom")
def may_hear_the_bell(request: HttpRequest, channel: str) -> bool:
    """Everybody who has a page of the newsroom open."""
    return True


def get_member_info(user: Any) -> dict[str, str]:
    """What the others on a page are told of someone."""
    return {"name": user.get_username().capitalize()}
