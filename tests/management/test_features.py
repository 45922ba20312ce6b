import pytest

from pusherable.conf import SettingsError
from pusherable.management.features import read_features, read_limits
from pusherable.server.config import App, Limits


class TestReadFeatures:
    def test_they_are_those_of_an_app_by_default(self):
        assert App(id="1", key="k", secret="s", **read_features()) == App(id="1", key="k", secret="s")

    def test_the_project_chooses(self, settings):
        settings.PUSHERABLE_CLIENT_EVENTS = False
        settings.PUSHERABLE_SUBSCRIPTION_COUNTS = "yes"
        settings.PUSHERABLE_AUTHORIZATION_TIMEOUT = "20"
        assert read_features() == {
            "has_client_events": False,
            "has_subscription_counts": True,
            "authorization_timeout": 20.0,
        }


class TestReadLimits:
    def test_they_are_the_hosted_service_s_by_default(self):
        assert read_limits() == Limits()

    def test_the_project_chooses(self, settings):
        settings.PUSHERABLE_SERVER_LIMITS = {"connections": 100, "capacity": 200, "cache_ttl": 60, "count_period": 0.5}
        assert read_limits() == Limits(connections=100, capacity=200, cache_ttl=60, count_period=0.5)

    @pytest.mark.parametrize("name", ["conections", 1])
    def test_a_limit_that_does_not_exist_is_an_error(self, settings, name):
        settings.PUSHERABLE_SERVER_LIMITS = {name: 100}
        with pytest.raises(SettingsError) as refusal:
            read_limits()
        assert refusal.value.setting == "PUSHERABLE_SERVER_LIMITS"
        assert str(refusal.value).startswith(
            f"PUSHERABLE_SERVER_LIMITS names {name!r}, which is no limit. There are cache_size, cache_ttl, capacity, "
        )

    @pytest.mark.parametrize(
        ("name", "value", "what"),
        [
            ("connections", "100", "whole number"),
            ("connections", 1.5, "whole number"),
            ("connections", True, "whole number"),
            ("connections", None, "whole number"),
            ("capacity", -1, "whole number"),
            ("cache_ttl", "60", "number"),
            ("cache_ttl", 0, "number"),
            ("cache_ttl", float("nan"), "number"),
            ("cache_ttl", float("inf"), "number"),
        ],
    )
    def test_a_value_that_is_none_is_an_error(self, settings, name, value, what):
        settings.PUSHERABLE_SERVER_LIMITS = {name: value}
        with pytest.raises(SettingsError) as refusal:
            read_limits()
        assert str(refusal.value) == f"PUSHERABLE_SERVER_LIMITS[{name!r}] is {value!r}; it is a {what} above zero."
