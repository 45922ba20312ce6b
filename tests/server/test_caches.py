from sys import getsizeof

from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.caches import Cache, CachedEvent


class TestCache:
    """A.44"""

    def test_the_last_event_of_each_channel_is_remembered(self):
        cache = Cache(ttl=10, size=10_000)
        cache.put("a", "view", "1", now=0)
        cache.put("b", "view", "2", now=0)
        cache.put("a", "update", "3", now=1)
        assert cache.get("a", now=1) == CachedEvent("update", "3", expires=11)
        assert cache.get("b", now=1) == CachedEvent("view", "2", expires=10)
        assert cache.get("c", now=1) is None

    def test_an_event_expires(self):
        cache = Cache(ttl=10, size=10_000)
        cache.put("a", "view", "1", now=0)
        assert cache.get("a", now=9.9) is not None
        assert cache.get("a", now=10) is None

    def test_the_oldest_event_gives_way(self):
        cache = Cache(ttl=10, size=3_000)
        for channel in ("a", "b"):
            cache.put(channel, "view", "x" * 1_000, now=0)
        cache.put("a", "view", "y" * 1_000, now=1)
        cache.put("c", "view", "z" * 1_000, now=2)
        assert [cache.get(channel, now=2) is not None for channel in ("a", "b", "c")] == [True, False, True]

    def test_an_event_that_never_fits_is_not_remembered(self):
        cache = Cache(ttl=10, size=100)
        cache.put("a", "view", "x" * 1_000, now=0)
        assert cache.get("a", now=0) is None

    def test_what_has_expired_gives_its_memory_back(self):
        cache = Cache(ttl=10, size=10_000)
        cache.put("a", "view", "1", now=0)
        cache.put("b", "view", "1", now=5)
        cache.purge(now=10)
        assert cache.get("a", now=0) is None
        assert cache.get("b", now=10) is not None
        cache.purge(now=15)
        cache.purge(now=15)
        assert cache.get("b", now=0) is None

    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "é" * 500, "x" * 2_000]), st.booleans()),
        )
    )
    def test_the_size_is_always_that_of_what_is_held(self, steps):
        cache = Cache(ttl=2, size=4_000)
        for now, (channel, data, purges) in enumerate(steps):
            if purges:
                cache.purge(now)
            cache.put(channel, "view", data, now)
            held = sum(
                getsizeof(name) + getsizeof(event.name) + getsizeof(event.data) + getsizeof(event)
                for name, event in cache._events.items()
            )
            assert cache._size == held <= 4_000
