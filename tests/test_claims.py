import asyncio
import threading

import pytest

from pusherable.claims import Attribution, Claim, current_claim
from tests.events import about, message


def own(pk="1", **options):
    return about(pk, is_automatic=True, **options)


@pytest.fixture
def claim():
    return Claim("updated", lambda: Attribution("ada", "x", "1.2"))


class TestClaim:
    def test_it_counts_while_it_is_entered(self, claim):
        inner = Claim("", Attribution)
        with claim:
            with inner:
                assert current_claim() is inner
            assert current_claim() is claim
        assert current_claim() is None

    def test_other_threads_and_tasks_have_none(self, claim):
        seen = []

        async def look():
            return current_claim()

        async def work():
            task = asyncio.create_task(look())
            with claim:
                return await task

        with claim:
            thread = threading.Thread(target=lambda: seen.append(current_claim()))
            thread.start()
            thread.join()
        assert (seen, asyncio.run(work())) == ([None], None)

    def test_view_is_asked_once_whose_work_it_is(self):
        asked = []

        def attribute():
            asked.append(1)
            return Attribution("ada")

        claim = Claim("updated", attribute)
        assert (claim.attribution, claim.attribution, asked) == (Attribution("ada"), Attribution("ada"), [1])

    def test_events_of_models_wait_for_the_end(self, claim):
        assert claim.sift([own()]) == []
        assert claim.sift([own("2", name="deleted")]) == []
        assert claim.end() == [own(), own("2", name="deleted")]
        assert claim.end() == []

    def test_the_views_event_makes_the_models_superfluous(self, claim):
        claim.sift([own(), own("2")])
        assert claim.sift([about(user="ada")]) == [about(user="ada")]
        assert claim.end() == [own("2")]

    def test_any_other_event_lets_go_of_what_the_view_will_not_repeat(self, claim):
        claim.sift([own(name="created"), own()])
        assert claim.sift([message()]) == [own(name="created"), message()]
        assert claim.sift([about()]) == [about()]
        assert claim.end() == []

    def test_what_comes_after_the_last_word_waits_again(self, claim):
        assert claim.sift([about(), own(data="newer")]) == [about()]
        assert claim.end() == [own(data="newer")]

    def test_it_knows_what_it_holds(self, claim):
        claim.sift([own(name="created")])
        assert claim.holds("created", "testapp.Post", "1")
        assert not any(
            claim.holds(*other)
            for other in [
                ("updated", "testapp.Post", "1"),
                ("created", "testapp.Post", "2"),
                ("created", "testapp.Tag", "1"),
            ]
        )
