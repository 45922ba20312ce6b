from pathlib import Path

import pytest
from django.test import TestCase, TransactionTestCase

from pusherable.backends import get_backend
from pusherable.conf import settings as pusherable_settings
from pusherable.publishing import publish, trigger
from pusherable.testing import (
    PusherableTestMixin,
    assert_not_published,
    assert_published,
    capture_events,
    disconnected,
    outbox,
    published,
)
from tests.factories import PostFactory
from tests.testapp.models import Page, Post


class TestCaptureEvents:
    def test_events_end_in_the_outbox_and_it_is_emptied(self, settings):
        settings.PUSHERABLE_BACKEND = "console"
        with capture_events() as events:
            event = trigger("a", "bell", 1)
            assert events is outbox
            assert outbox == [event]
        assert outbox == []
        assert pusherable_settings.backend == "console"

    def test_users_who_were_sent_away_are_kept_too(self):
        with capture_events():
            get_backend().disconnect("7")
            assert disconnected == ["7"]
        assert disconnected == []


@pytest.mark.usefixtures("pusherable_outbox")
class TestPublished:
    def test_target_and_event_choose(self):
        first = trigger(["post_1", "post"], "created", {})
        second = trigger("post_1", "view", {})
        assert published() == [first, second]
        assert published(Post(pk=1)) == [first, second]
        assert published(Post) == [first]
        assert published("post_1", "view") == [second]
        assert published(event="view") == [second]

    def test_channels_of_an_object_are_meant_whatever_their_kind(self):
        public = trigger("page_" + "x" * 155, "view", {})
        private = trigger(["private-page_" + "x" * 149, "private-page"], "view", {})
        assert published(Page(pk="x" * 155)) == [public]
        assert published(Page(pk="x" * 149)) == [private]
        assert published(Page) == [private]
        assert published("page") == []


@pytest.mark.usefixtures("pusherable_outbox")
class TestAssertPublished:
    def test_event_that_is_there_is_returned(self):
        event = trigger("post_1", "view", {"user": "ada", "object": {"title": "x", "body": "y"}})
        assert assert_published(Post(pk=1), "view", user="ada", object={"title": "x"}) == event

    def test_count_is_exact(self):
        trigger("a", "view", {})
        second = trigger("a", "view", {})
        assert assert_published("a", "view", count=2) == second
        with pytest.raises(AssertionError) as failure:
            assert_published("a", "view")
        assert str(failure.value) == (
            "'view' was published 2 times on a, not 1. The outbox holds:\n  view on a: {}\n  view on a: {}"
        )

    def test_empty_outbox_reminds_of_the_commit(self):
        with pytest.raises(AssertionError) as failure:
            assert_published("a", "view")
        assert str(failure.value) == (
            "'view' was published 0 times on a, not 1. The outbox is empty. Events wait for the commit: in a "
            "TestCase publish inside `with self.captureOnCommitCallbacks(execute=True)`."
        )

    def test_wrong_payload_is_shown(self):
        trigger("a", "view", {"user": "ada", "object": {"title": "x"}})
        with pytest.raises(AssertionError) as failure:
            assert_published("a", "view", user="grace", pk="1")
        assert str(failure.value) == (
            "user is 'ada', not 'grace'; pk is '(missing)', not '1'. "
            "The payload's part: {'user': 'ada', 'object': {'title': 'x'}}"
        )
        with pytest.raises(AssertionError, match=r"object\.title is 'x', not 'y'"):
            assert_published("a", "view", object={"title": "y"})

    def test_count_of_none_is_refused(self):
        with pytest.raises(ValueError, match="use assert_not_published"):
            assert_published("a", "view", count=0)


@pytest.mark.usefixtures("pusherable_outbox")
class TestAssertNotPublished:
    def test_nothing_is_fine(self):
        trigger("a", "view", {})
        assert_not_published("b")
        assert_not_published("a", "update")

    def test_something_is_shown(self):
        trigger("a", "view", {})
        with pytest.raises(AssertionError, match=r"1 events were published that should not have been"):
            assert_not_published("a")


class TestInTestCase(PusherableTestMixin, TestCase):
    def test_events_wait_for_the_captured_commit(self):
        post = PostFactory()
        with self.captureOnCommitCallbacks(execute=True):
            publish(post, "view", user="ada")
            self.assertNotPublished()
        self.assertPublished(post, "view", user="ada")
        assert len(self.outbox) == 1

    def test_each_test_has_an_empty_outbox(self):
        assert self.outbox == []


class TestInTransactionTestCase(PusherableTestMixin, TransactionTestCase):
    def test_events_come_at_once(self):
        post = PostFactory()
        publish(post, "view")
        self.assertPublished(post, "view")


class TestFixture:
    def test_it_is_found_by_its_entry_point(self, pytester, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        pytester.makeini("[pytest]\ndjango_find_project = false\nDJANGO_SETTINGS_MODULE = tests.settings")
        pytester.makepyfile(
            """
            from pusherable.publishing import trigger

            def test_outbox(pusherable_outbox):
                event = trigger("a", "bell", 1)
                assert pusherable_outbox == [event]
            """
        )
        pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
