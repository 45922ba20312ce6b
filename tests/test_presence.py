import json

import pytest
from asgiref.sync import async_to_sync

from pusherable.exceptions import DeliveryFailed, InvalidChannel
from pusherable.presence import Occupancy, amembers, aoccupancy, members, occupancy, presence_channel
from tests.answering import fresh_clients, refusing_port, service
from tests.testapp.models import FeaturedPost, Post

__all__ = ["fresh_clients", "service"]


def answer(service, document, status=200):
    service.answer = (status, json.dumps(document).encode())


class TestPresenceChannel:
    def test_object_model_and_name(self):
        assert presence_channel(Post(pk=1)) == "presence-post_1"
        assert presence_channel(FeaturedPost(pk=1)) == "presence-post_1"
        assert presence_channel(Post) == "presence-post"
        assert presence_channel("presence-cache-room") == "presence-cache-room"

    @pytest.mark.parametrize("name", ["post_1", "private-post_1", "presence"])
    def test_channel_of_another_kind_is_refused(self, name):
        with pytest.raises(InvalidChannel, match=f"'{name}' is no presence channel: their names begin with"):
            presence_channel(name)


class TestMembers:
    def test_ids_as_the_service_tells_them(self, service):
        answer(service, {"users": [{"id": "7"}, {"id": 8}]})
        assert members(Post(pk=1)) == ["7", "8"]
        [(path, _, body)] = service.requests
        assert (path.partition("?")[0], body) == ("/apps/1/channels/presence-post_1/users", b"")
        # Protocol F.6.
        assert "body_md5" not in path

    @pytest.mark.parametrize(("document", "status"), [({"users": []}, 200), ({}, 200), ({}, 404)])
    def test_nobody_is_an_empty_list(self, service, document, status):
        # Reverb knows no channel that is empty (protocol G.1).
        answer(service, document, status)
        assert members(Post(pk=1)) == []

    def test_dead_service_is_an_error_with_a_reason(self, settings):
        with refusing_port() as settings.PUSHER_PORT, pytest.raises(DeliveryFailed) as failure:
            members(Post(pk=1))
        assert failure.value.reason == "unreachable"

    def test_refusal_is_an_error_with_a_reason(self, service):
        answer(service, {}, 401)
        with pytest.raises(DeliveryFailed) as failure:
            members("presence-room")
        assert (failure.value.reason, failure.value.status) == ("unauthorized", 401)

    def test_async(self, service):
        answer(service, {"users": [{"id": "7"}]})
        assert async_to_sync(amembers)("presence-room") == ["7"]


class TestOccupancy:
    @pytest.mark.parametrize(
        ("document", "found"),
        [
            ({"occupied": True, "user_count": 3}, Occupancy(is_occupied=True, user_count=3)),
            ({"occupied": False}, Occupancy(is_occupied=False, user_count=0)),
            ({"user_count": 2}, Occupancy(is_occupied=True, user_count=2)),
            ({}, Occupancy(is_occupied=False, user_count=0)),
        ],
    )
    def test_whatever_shape_the_service_gives_it(self, service, document, found):
        answer(service, document)
        assert occupancy(Post(pk=1)) == found
        assert service.requests[0][0].startswith("/apps/1/channels/presence-post_1?info=user_count&")

    def test_dead_service_is_an_error_with_a_reason(self, settings):
        with refusing_port() as settings.PUSHER_PORT, pytest.raises(DeliveryFailed) as failure:
            occupancy(Post(pk=1))
        assert failure.value.reason == "unreachable"

    def test_async(self, service):
        answer(service, {"occupied": True, "user_count": 1})
        assert async_to_sync(aoccupancy)("presence-room") == Occupancy(is_occupied=True, user_count=1)
