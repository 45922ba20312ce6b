"""The site of ``view_overhead.py``; a file, since settings made by ``settings.configure`` are slower to read."""

import os

SECRET_KEY = "of the benchmark alone"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "pusherable"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PAGE = "<h1>{{ object.title }}</h1>{{ object.body|linebreaks }}"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [("django.template.loaders.locmem.Loader", {"post.html": PAGE})],
                )
            ]
        },
    }
]
PUSHER_APP_ID = "1"
PUSHER_KEY = "key"
PUSHER_SECRET = "secret"
PUSHER_HOST = "127.0.0.1"
PUSHER_PORT = int(os.environ.get("BENCHMARK_PORT", "1"))
PUSHER_SSL = False
PUSHER_TIMEOUT = 2
PUSHERABLE_BACKEND = "threaded"
PUSHERABLE_EXIT_TIMEOUT = 0.1
