import pytest

from pusherable.server.config import App, Limits, ServerConfig

APPS = (App(id="1", key="one", secret="s1"), App(id="2", key="two", secret="s2"))


class TestApp:
    def test_repr_keeps_the_secret(self):
        assert repr(APPS[0]) == (
            "App(id='1', key='one', is_enabled=True, has_client_events=True, has_subscription_counts=False, "
            "authorization_timeout=None)"
        )


class TestLimits:
    def test_a_full_batch_fits_into_a_request_body(self):
        limits = Limits()
        assert limits.request_body_size > limits.events_per_batch * limits.event_data_size * len("\\u0000")


class TestServerConfig:
    def test_repr_keeps_the_secrets(self):
        assert "s1" not in repr(ServerConfig(apps=APPS))

    def test_an_app_is_found_by_its_id(self):
        assert ServerConfig(apps=APPS).find_app(id="2") is APPS[1]

    def test_an_app_is_found_by_its_key(self):
        assert ServerConfig(apps=APPS).find_app(key="two") is APPS[1]

    def test_an_unknown_app_is_not_found(self):
        assert ServerConfig(apps=APPS).find_app(id="two") is None

    @pytest.mark.parametrize("path", ["push", "/push/", "/"])
    def test_a_path_of_another_form_is_an_error(self, path):
        with pytest.raises(ValueError, match="starts with a slash and does not end with one, like '/push'"):
            ServerConfig(apps=APPS, path=path)
