"""A process that publishes a stream of events, and notes each of them, and what is reported of it, in a file.

``python -m tests.backends.sending COUNT PAUSE`` with the file's path in ``CHAOS_NOTES``; gunicorn takes
``application``. What is noted is written at once, so that it outlives any end of the process.
"""

import os
import sys
import threading
import time
from functools import cache

import django
from django.http import HttpResponse


def note(*words: object) -> None:
    # One write for each line, so that those of several processes do not mix.
    notes = os.open(os.environ["CHAOS_NOTES"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(notes, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(notes)


def publish(channel: str, name: str) -> None:
    from pusherable import trigger

    trigger(channel, name, {"pid": os.getpid()})
    # Not before: it may be interrupted in between.
    note("published", channel, name)


def set_up() -> None:
    django.setup()
    from pusherable.signals import publish_failed

    publish_failed.connect(_note_failure)


def _note_failure(event, reason, **kwargs):
    note("failed", event.channels[0], event.name, reason)


def bell(request):
    """A page that publishes its own address; the answer says by which process."""
    publish(f"channel{os.getpid()}-{threading.get_ident()}", request.GET["name"])
    return HttpResponse(str(os.getpid()))


@cache
def _make_pages():
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def application(environ, start_response):
    return _make_pages()(environ, start_response)


def preload() -> None:
    """What a careless project does before gunicorn forks: it publishes."""
    set_up()
    _make_pages()
    publish("master", "preloaded")


def publish_once() -> None:
    """What a child of multiprocessing does."""
    set_up()
    publish("child", "spawned")


def main() -> None:
    count, pause = int(sys.argv[1]), float(sys.argv[2])
    ahead = float(os.environ.get("CHAOS_CLOCK", "0"))
    if ahead:
        right_time = time.time
        time.time = lambda: right_time() + ahead
    set_up()
    for number in range(count):
        publish(f"channel{number % 7}", f"event{number}")
        time.sleep(pause)
    note("done")


if os.environ.get("CHAOS_PRELOAD"):
    preload()

if __name__ == "__main__":
    main()
