"""As ``tests.settings``, but on the PostgreSQL that ``PGHOST`` and its like name."""

from tests.settings import *  # noqa: F403

DATABASES = {
    alias: {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "TEST": {"NAME": f"test_{alias}"}}
    for alias in ("default", "other")
}
# The tests' own models have no migrations, and refer to these.
MIGRATION_MODULES = {"auth": None, "contenttypes": None, "sessions": None}
