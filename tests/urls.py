"""No page but what a test brings along by ``@pytest.mark.urls``."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
