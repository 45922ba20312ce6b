"""Events to make in tests: about an object, or a message."""

from pusherable.events import Event, Subject


def about(pk="1", name="updated", channels=("post_1",), socket_id=None, data="{}", **subject):
    return Event(tuple(channels), name, data, socket_id, Subject("testapp.Post", pk, **subject))


def message(data="{}", **options):
    return Event(("newsroom",), "bell", data, **options)
