"""Settings of a project to play with on one's own machine, and nowhere else.

There is no ``PUSHER_*`` setting: with ``DEBUG`` and none of them, everything points at the local server.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "demo-key-known-to-everybody-never-use-it-for-a-real-site"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "pusherable",
    "newsroom",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "newsroom.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "newsroom_site.urls"
WSGI_APPLICATION = "newsroom_site.wsgi.application"
ASGI_APPLICATION = "newsroom_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("NEWSROOM_DATABASE") or BASE_DIR / "db.sqlite3",
        # Two people who save at once take turns; without it the second one may read what is stale by then.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"

# Whoever may not see a post does not hear of it either: its own view decides (newsroom/views.py), and rules for the
# rest are in newsroom/channels.py.
PUSHERABLE_PRIVATE_CHANNELS = True
# What pages listen by: WebSockets, or event streams and no pusher-js (``manage.py demo --sse``).
PUSHERABLE_TRANSPORT = os.environ.get("NEWSROOM_TRANSPORT", "websocket")
PUSHERABLE_MEMBER_INFO = "newsroom.channels.get_member_info"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

# Cookies know no ports: with names of their own they leave other projects on this machine logged in.
SESSION_COOKIE_NAME = "newsroom_session"
CSRF_COOKIE_NAME = "newsroom_csrf"
