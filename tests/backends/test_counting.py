import os

import pytest

import pusherable
from pusherable.backends.counting import Counters, DeliveryStats, counters, delivery_stats


@pytest.fixture(autouse=True)
def fresh_counters():
    counters.reset()
    yield
    counters.reset()


class TestDeliveryStats:
    def test_door_opens_to_the_numbers(self):
        assert pusherable.delivery_stats() == DeliveryStats(queued=0, sent=0, retried=0, dropped=0)

    def test_what_is_counted_is_told(self):
        counters.count(queued=3, retried=2)
        counters.count(queued=-1, sent=1, dropped=1)
        assert delivery_stats() == DeliveryStats(queued=2, sent=1, retried=2, dropped=1)

    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_fork_begins_anew(self):
        counters.count(queued=3)
        with counters._lock:
            child = os.fork()
            if not child:
                os._exit(delivery_stats() != DeliveryStats())
        assert os.waitpid(child, 0)[1] == 0
        assert delivery_stats().queued == 3


class TestCounters:
    def test_each_counts_for_itself(self):
        Counters().count(sent=1)
        assert delivery_stats() == DeliveryStats()
