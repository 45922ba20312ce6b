"""The Celery backend of the documentation, with something in the place of Celery."""

import json
import sys
from types import ModuleType

import pytest

from pusherable.backends import BaseBackend
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from tests.answering import fresh_clients, service
from tests.rst import DOCS, code_blocks

__all__ = ["fresh_clients", "service"]


class FakeTask:
    """Keeps what was given to ``delay``, as JSON, which is what Celery's brokers are given."""

    def __init__(self, function, options):
        self.function, self.options, self.queue = function, options, []

    def delay(self, *args):
        self.queue.append(json.dumps(args))

    def work(self):
        self.function(*json.loads(self.queue.pop(0)))


@pytest.fixture
def example(monkeypatch):
    celery = ModuleType("celery")
    celery.shared_task = lambda **options: lambda function: FakeTask(function, options)
    monkeypatch.setitem(sys.modules, "celery", celery)
    [code] = [code for code in code_blocks((DOCS / "delivery.rst").read_text("utf-8"), "python") if "celery" in code]
    names = {}
    exec(compile(code, "delivery.rst", "exec"), names)
    return names


class TestCeleryBackend:
    def test_event_is_delivered_by_the_worker(self, example, service):
        backend = example["CeleryBackend"]()
        assert isinstance(backend, BaseBackend)
        backend.deliver_many([Event(("a", "b"), "updated", '{"é":1}', "1.2"), Event(("a",), "view", "{}")])
        assert service.requests == []
        task = example["deliver_event"]
        task.work()
        task.work()
        assert [json.loads(body) for body in service.taken] == [
            {"name": "updated", "channels": ["a", "b"], "data": '{"é":1}', "socket_id": "1.2"},
            {"name": "view", "channels": ["a"], "data": "{}"},
        ]

    def test_failure_is_raised_for_celery_to_try_again(self, example, service):
        service.answer = (503, b"{}")
        example["CeleryBackend"]().deliver(Event(("a",), "view", "{}"))
        task = example["deliver_event"]
        with pytest.raises(task.options["autoretry_for"]) as failure:
            task.work()
        assert isinstance(failure.value, DeliveryFailed)
