import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import django
import pytest
from asgiref.local import Local
from django.db import transaction

from pusherable.backends import tasks
from pusherable.backends.counting import counters
from pusherable.backends.tasks import TasksBackend, deliver_events, send_away
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.signals import publish_failed
from tests.answering import fresh_clients, service
from tests.rst import ROOT

__all__ = ["fresh_clients", "service"]

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
EVENT = Event(("post_1",), "updated", '{"a":1}', "1.2")
WRITTEN = [["post_1"], "updated", '{"a":1}', "1.2", "an-id"]


class DatabaseBackend(tasks._tasks.task_backends.create_connection("default").__class__):
    """Says that it is of a package whose queues are tables."""


DatabaseBackend.__module__ = "django_tasks_db.backend"


@pytest.fixture
def use_queue(settings):
    """A function that sets the queues, by the path of their class."""
    backends = tasks._tasks.task_backends

    def forget():
        vars(backends).pop("settings", None)
        backends._settings = None
        backends._connections = Local()

    def use(path):
        settings.TASKS = {name: {"BACKEND": path, "QUEUES": []} for name in ("default", "slow")}
        forget()
        return backends

    yield use
    forget()


@pytest.fixture
def queue(use_queue):
    """The queue, which keeps what is put in."""
    return use_queue(f"{PACKAGE}.backends.dummy.DummyBackend")["default"]


def queued(queue):
    return [(result.task.func.__name__, *result.args) for result in queue.results]


def work(written, *args, task=deliver_events):
    """As a worker does, which reads the arguments from JSON."""
    context = SimpleNamespace(task_result=SimpleNamespace(task=task))
    deliver_events.func(context, *json.loads(json.dumps([written, *args])))


@pytest.fixture
def failed():
    received = []

    def receive(event, reason, **kwargs):
        received.append((event, reason))

    publish_failed.connect(receive)
    yield received
    publish_failed.disconnect(receive)


class TestTasksBackend:
    def test_event_becomes_a_task(self, queue):
        TasksBackend().deliver(replace(EVENT).known_as("an-id"))
        assert queued(queue) == [("deliver_events", [WRITTEN])]

    def test_events_of_a_transaction_travel_together_as_far_as_one_request_goes(self, queue):
        events = [Event(tuple(f"c{n}" for n in range(count)), str(count), "{}") for count in (4, 6, 1, 30, 2)]
        TasksBackend().deliver_many(events)
        assert [[name for _, name, *_ in task[1]] for task in queued(queue)] == [["4", "6"], ["1"], ["30"], ["2"]]
        TasksBackend().deliver_many([])
        assert len(queue.results) == 4

    def test_another_queue_is_a_subclass(self, queue):
        class SlowBackend(TasksBackend):
            backend_alias = "slow"
            queue_name = "later"

        SlowBackend().deliver(EVENT)
        SlowBackend().disconnect("7")
        assert queue.results == []
        other = tasks._tasks.task_backends["slow"].results
        assert [(result.task.queue_name, result.task.func.__name__) for result in other] == [
            ("later", "deliver_events"),
            ("later", "send_away"),
        ]

    def test_user_is_sent_away_by_a_task(self, queue, caplog):
        TasksBackend().disconnect("7")
        assert queued(queue) == [("send_away", "7")]
        tasks._tasks.task_backends.settings.clear()
        tasks._tasks.task_backends._connections = Local()
        TasksBackend().disconnect("7")
        assert caplog.messages[0].startswith("The user '7' could not be disconnected: ")

    @pytest.mark.parametrize("backend", ["dummy.DummyBackend", "immediate.ImmediateBackend"])
    def test_queue_elsewhere_waits_for_the_commit(self, use_queue, backend):
        use_queue(f"{PACKAGE}.backends.{backend}")
        assert not TasksBackend().joins_transaction("default")

    def test_queue_in_the_database_is_part_of_its_transactions_alone(self, use_queue, monkeypatch, settings):
        use_queue(f"{__name__}.DatabaseBackend")
        backend = TasksBackend()
        assert not backend.joins_transaction("default")
        config = SimpleNamespace(get_models=lambda: ["DBTaskResult"])
        monkeypatch.setattr(tasks.apps, "get_containing_app_config", lambda name: config)
        monkeypatch.setattr(tasks.router, "db_for_write", lambda model: "queue")
        assert (backend.joins_transaction("queue"), backend.joins_transaction("default")) == (True, False)


class TestDeliverEvents:
    def test_service_is_sent_what_was_enqueued(self, service):
        counters.reset()
        work([WRITTEN])
        [(_, _, body)] = service.requests
        assert json.loads(body) == {"name": "updated", "channels": ["post_1"], "data": '{"a":1}', "socket_id": "1.2"}
        assert counters.read().sent == 1

    def test_what_may_heal_is_tried_again_later_and_known_to_the_queue(self, service, queue, failed):
        counters.reset()
        service.answer = (503, b"{}", {"Retry-After": "3"})
        with pytest.raises(DeliveryFailed) as failure:
            work([WRITTEN])
        assert failure.value.__notes__ == ["It is tried again, by another task."]
        with pytest.raises(DeliveryFailed):
            work([WRITTEN], 3, 4e9)
        [first, later] = queue.results
        assert first.args[:2] == [[WRITTEN], 1]
        assert later.args == [[WRITTEN], 4, 4e9]
        assert first.task.run_after is not None
        assert (failed, counters.read().retried) == ([], 2)

    @pytest.mark.django_db(transaction=True)
    def test_next_attempt_outlives_a_transaction_around_the_task(self, service, queue):
        service.answer = (503, b"{}")
        with transaction.atomic():
            work([WRITTEN])
        assert len(queue.results) == 1

    def test_queue_that_cannot_wait_lets_the_worker_wait(self, service, queue, monkeypatch):
        service.answer = (503, b"{}")
        pauses = []
        monkeypatch.setattr(tasks.time, "sleep", pauses.append)
        monkeypatch.setattr(type(queue), "supports_defer", False)
        with pytest.raises(DeliveryFailed):
            work([WRITTEN])
        assert 0 < pauses[0] <= 0.25
        assert queue.results[0].task.run_after is None

    @pytest.mark.parametrize(
        ("answer", "attempts", "since", "reason"),
        [
            ((401, b"no"), 0, 0.0, "unauthorized"),
            ((503, b""), 19, 4e9, "service-error"),
            ((503, b""), 1, 1.0, "service-error"),
        ],
    )
    def test_what_is_given_up_is_reported_and_known_to_the_queue(
        self, service, queue, failed, answer, attempts, since, reason
    ):
        service.answer = answer
        with pytest.raises(DeliveryFailed):
            work([WRITTEN], attempts, since)
        assert (failed, queue.results) == ([(EVENT, reason)], [])

    def test_service_knows_an_event_that_comes_again(self, service):
        for _ in range(2):
            work([WRITTEN])
        assert [headers["X-Pusherable-Event-Ids"] for _, headers, _ in service.requests] == ["an-id", "an-id"]

    def test_event_that_waits_since_an_earlier_version_is_delivered_too(self, service):
        work([WRITTEN[:4]])
        assert len(service.requests[0][1]["X-Pusherable-Event-Ids"]) == 16

    def test_event_that_spoils_a_batch_is_parted_from_the_others(self, service, queue, failed):
        service.answer = (400, b"bad")
        other = [["a"], "other", "{}", None, "another-id"]
        work([WRITTEN, other])
        assert queued(queue) == [("deliver_events", [WRITTEN]), ("deliver_events", [other])]
        with pytest.raises(DeliveryFailed):
            work([WRITTEN])
        assert failed == [(EVENT, "bad-request")]

    def test_missing_service_is_reported(self, settings, queue, failed):
        settings.PUSHER_SECRET = ""
        with pytest.raises(SettingsError):
            work([WRITTEN])
        assert failed == [(EVENT, "SettingsError")]


class TestSendAway:
    def test_user_is_disconnected(self, service):
        send_away.func("7")
        assert service.requests[0][0].startswith("/apps/1/users/7/terminate_connections?")

    def test_failure_is_reported_and_known_to_the_queue(self, service, caplog):
        service.answer = (404, b"")
        with pytest.raises(DeliveryFailed):
            send_away.func("7")
        assert caplog.messages[0].startswith("The user '7' could not be disconnected: ")


SETTINGS = """
from tests.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_db"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "queue.sqlite3", "OPTIONS": {"timeout": 30}}}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
PUSHERABLE_BACKEND = "tasks"
"""

PUBLISHER = """
import os, signal
import django
django.setup()
from django.core.management import call_command
from django.db import transaction
from pusherable import publish
from tests.testapp.models import Post

call_command("migrate", run_syncdb=True, verbosity=0)
with transaction.atomic():
    post = Post.objects.create(title="committed")
    publish(post, "updated")
    try:
        with transaction.atomic():
            publish(post, "lost")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
try:
    with transaction.atomic():
        publish(Post.objects.create(title="rolled back"), "lost")
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


class Turns:
    """One answer after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __iter__(self):
        return iter(self.answers.pop(0))


class TestQueueInTheDatabase:
    """The package's own worker, and processes of their own."""

    @pytest.fixture
    def run(self, tmp_path, service):
        (tmp_path / "queue_settings.py").write_text(f"{SETTINGS}\nPUSHER_PORT = {service.port}\n")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PUSHER")},
            "DJANGO_SETTINGS_MODULE": "queue_settings",
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "PYTHONWARNINGS": "ignore",
        }

        def run(*arguments):
            return subprocess.run(
                [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
            )

        return run

    def test_event_outlives_its_publisher_and_is_tried_again(self, run, service):
        killed = run("-c", PUBLISHER)
        assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
        assert service.requests == []
        service.answer = Turns((503, b"{}"), (200, b"{}"))
        run("-m", "django", "db_worker", "--interval=0.05", "--no-startup-delay", "--no-reload", "--max-tasks=2")
        [body] = service.taken
        sent = json.loads(body)
        assert (sent["name"], json.loads(sent["data"])["object"]["title"]) == ("updated", "committed")
        assert len(service.requests) == 2
