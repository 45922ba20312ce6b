import os

import pytest

from pusherable import backends
from pusherable.backends import BaseBackend, get_backend
from pusherable.backends.console import ConsoleBackend
from pusherable.backends.dummy import DummyBackend
from pusherable.backends.inline import InlineBackend
from pusherable.backends.locmem import LocmemBackend, disconnected, outbox
from pusherable.backends.tasks import TasksBackend
from pusherable.backends.threaded import ThreadedBackend
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed

EVENT = Event(("post_1", "post"), "view", '{"a":1}')
OTHER = Event(("post_2",), "view", "{}")


class OwnBackend(BaseBackend):
    pass


class TestGetBackend:
    @pytest.mark.parametrize(
        ("value", "backend_class"),
        [
            ("threaded", ThreadedBackend),
            ("tasks", TasksBackend),
            ("inline", InlineBackend),
            ("console", ConsoleBackend),
            ("locmem", LocmemBackend),
            ("dummy", DummyBackend),
            ("pusherable.backends.dummy.DummyBackend", DummyBackend),
            (f"{__name__}.OwnBackend", OwnBackend),
        ],
    )
    def test_setting_chooses(self, settings, value, backend_class):
        settings.PUSHERABLE_BACKEND = value
        assert type(get_backend()) is backend_class
        assert get_backend() is get_backend()

    def test_path_to_nothing_is_an_error_that_lists_ours(self, settings):
        settings.PUSHERABLE_BACKEND = "thraeded"
        with pytest.raises(SettingsError) as refusal:
            get_backend()
        assert str(refusal.value) == (
            "PUSHERABLE_BACKEND = 'thraeded' cannot be imported (thraeded doesn't look like a module path). It is "
            "a dotted path, or one of threaded, tasks, inline, console, locmem, dummy."
        )

    @pytest.mark.parametrize("path", ["builtins.dict", "pusherable.client.deliver"])
    def test_path_to_something_else_is_an_error(self, settings, path):
        settings.PUSHERABLE_BACKEND = path
        with pytest.raises(SettingsError, match="is no subclass of pusherable.backends.BaseBackend"):
            get_backend()

    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_fork_makes_its_own(self):
        parent = get_backend()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"other" if get_backend() is not parent else b"same")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 10) == b"other"
        os.close(reading)
        os.close(writing)
        assert backends.get_backend() is parent


class TestBaseBackend:
    def test_deliver_is_for_subclasses(self):
        with pytest.raises(NotImplementedError, match="OwnBackend has to define deliver"):
            OwnBackend().deliver(EVENT)

    def test_many_are_delivered_one_by_one(self):
        backend = LocmemBackend()
        outbox.clear()
        backend.deliver_many([EVENT, OTHER])
        assert outbox == [EVENT, OTHER]
        outbox.clear()

    def test_user_is_disconnected_at_once(self, monkeypatch):
        asked = []
        monkeypatch.setattr(backends, "disconnect_user", asked.append)
        OwnBackend().disconnect("7")
        assert asked == ["7"]

    @pytest.mark.parametrize(
        "error",
        [DeliveryFailed("It is gone.", reason="unreachable"), SettingsError("It is gone.", setting="PUSHER_KEY")],
    )
    def test_user_who_cannot_be_disconnected_is_in_the_log(self, monkeypatch, caplog, error):
        def fail(user_id):
            raise error

        monkeypatch.setattr(backends, "disconnect_user", fail)
        OwnBackend().disconnect("7")
        assert caplog.messages == ["The user '7' could not be disconnected: It is gone."]

    def test_nothing_waits(self):
        assert OwnBackend().flush(0)


class TestConsoleBackend:
    def test_event_is_one_line(self, capsys):
        ConsoleBackend().deliver(EVENT)
        assert capsys.readouterr().out == '[pusherable] view on post_1, post: {"a":1}\n'

    def test_user_who_is_disconnected_is_another(self, capsys):
        ConsoleBackend().disconnect("7")
        assert capsys.readouterr().out == "[pusherable] disconnect the user 7\n"


class TestLocmemBackend:
    def test_event_ends_in_the_outbox(self):
        outbox.clear()
        LocmemBackend().deliver(EVENT)
        assert outbox == [EVENT]
        outbox.clear()

    def test_user_ends_in_a_list_too(self):
        disconnected.clear()
        LocmemBackend().disconnect("7")
        assert disconnected == ["7"]
        disconnected.clear()


class TestDummyBackend:
    def test_event_is_forgotten(self):
        assert DummyBackend().deliver(EVENT) is None

    def test_user_stays(self):
        assert DummyBackend().disconnect("7") is None
