"""The newsroom's pages, Django's own views to log in and out, and where pages are let into private channels."""

from django.contrib.auth import views as auth_views
from django.urls import include, path

from newsroom.edition import DEMO_USERS

urlpatterns = [
    path("", include("newsroom.urls")),
    path("pusher/", include("pusherable.urls")),
    path("login/", auth_views.LoginView.as_view(extra_context={"demo_users": DEMO_USERS}), name="login"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
]
