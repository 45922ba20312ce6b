"""What a project includes: ``path("pusher/", include("pusherable.urls"))``."""

from django.urls import path

from pusherable import views

app_name = "pusherable"

urlpatterns = [
    path("auth/", views.AuthView.as_view(), name="auth"),
    path("user-auth/", views.UserAuthView.as_view(), name="user-auth"),
    path("webhook/", views.webhook, name="webhook"),
]
