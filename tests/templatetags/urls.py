"""A project that can let visitors into private channels."""

from django.urls import include, path

urlpatterns = [path("pusher/", include("pusherable.urls"))]
