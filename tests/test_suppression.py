import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from pusherable.suppression import is_suppressed, suppress
from tests.testapp.models import FeaturedPost, Post, Review, Tag


class TestSuppress:
    def test_everything_inside_is_suppressed_and_nothing_after(self):
        with suppress():
            assert (is_suppressed(), is_suppressed(Post)) == (True, True)
        assert (is_suppressed(), is_suppressed(Post)) == (False, False)

    def test_error_ends_it(self):
        with pytest.raises(ZeroDivisionError), suppress():
            _ = 1 / 0
        assert not is_suppressed()

    def test_model_is_suppressed_with_its_proxies_and_children_alone(self):
        with suppress(Post):
            assert [is_suppressed(model) for model in (Post, FeaturedPost, Review, Tag, None)] == [
                True,
                True,
                True,
                False,
                False,
            ]
        with suppress(FeaturedPost):
            assert is_suppressed(Post)
        with suppress(Review, Tag):
            assert [is_suppressed(model) for model in (Post, Review, Tag)] == [False, True, True]

    def test_one_inside_another(self):
        silence = suppress(Post)
        with silence, suppress(Tag):
            with silence:
                assert (is_suppressed(Post), is_suppressed(Tag)) == (True, True)
            assert is_suppressed(Post)
        assert not is_suppressed(Post)

    def test_decorator_takes_functions_of_both_kinds(self):
        @suppress(Post)
        def plain(model):
            return is_suppressed(model)

        @suppress()
        async def slow():
            await asyncio.sleep(0)
            return is_suppressed()

        assert (plain.__name__, plain(Post), plain(Tag), is_suppressed(Post)) == ("plain", True, False, False)
        assert (async_to_sync(slow)(), is_suppressed()) == (True, False)

    def test_what_is_no_model_is_an_error(self):
        with pytest.raises(TypeError, match=r"suppress\(\) takes models, not <function .*: write @suppress\(\) where"):

            @suppress
            def forgot_the_brackets():
                raise AssertionError

    def test_other_threads_go_on(self):
        heard = []
        with suppress():
            thread = threading.Thread(target=lambda: heard.append(is_suppressed()))
            thread.start()
            thread.join()
        assert heard == [False]

    def test_other_tasks_go_on_and_threads_of_this_one_do_not(self):
        async def look():
            return is_suppressed()

        async def both():
            began, ended = asyncio.Event(), asyncio.Event()

            async def silent():
                with suppress():
                    began.set()
                    await ended.wait()
                    return await sync_to_async(is_suppressed)()

            task = asyncio.create_task(silent())
            await began.wait()
            outside = is_suppressed()
            ended.set()
            return outside, await task

        assert async_to_sync(both)() == (False, True)
