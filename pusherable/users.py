"""One user, wherever they have a page open: notify them, or send their connections away."""

from functools import partial
from typing import Any, Final

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import get_hasher, identify_hasher
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_save
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from pusherable.backends import get_backend
from pusherable.channels import SERVER_TO_USER_PREFIX
from pusherable.conf import settings
from pusherable.events import Event
from pusherable.failures import log_quietly, report_disconnect_failure
from pusherable.publishing import database_of, trigger
from pusherable.suppression import is_suppressed

#: The fields of a user that decide who may log in.
_WATCHED: Final = ("is_active", "password")
# Left on an instance between the two signals of its saving.
_MARK: Final = "_pusherable_disconnects"


def notify(
    user: Any,
    event: str,
    data: Any,
    *,
    exclude: HttpRequest | str | None = None,
    immediate: bool = False,
) -> Event:
    """Send any JSON ``data`` to every tab in which ``user`` is signed in, once the transaction has been committed.

    In a page, ``pusherable.onUser`` hears of it. ``exclude`` and ``immediate`` are as for
    ``trigger``. Returns the event, and raises what ``trigger`` does, ``InvalidChannel`` for a primary key with
    characters that a channel's name cannot have, and ``ValueError`` for somebody who has none.
    """
    channel = SERVER_TO_USER_PREFIX + user_id_of(user)
    return trigger(channel, event, data, exclude=exclude, immediate=immediate, using=_database_of(user))


def disconnect(user: Any, *, immediate: bool = False) -> None:
    """Send away every tab in which ``user`` is signed in, once the transaction has been committed.

    Their pages may come back and ask anew for everything: take the permission away first. A service in trouble is
    logged, never raised. Within ``suppress()`` nothing happens. Raises ``ValueError`` for somebody without a primary
    key.
    """
    _disconnect_later(user_id_of(user), using=_database_of(user), immediate=immediate)


def user_id_of(user: Any) -> str:
    """What the service calls this user, the primary key as text; raises ``ValueError`` for somebody without one."""
    if user is None or user.pk is None:
        raise ValueError(f"{user!r} has no primary key: only a user who is saved can be signed in.")
    return str(user.pk)


def connect_signals() -> None:
    """Watch the project's user model: who logs out, or may log in no longer, is disconnected.

    Without a user model there is nothing to watch.
    """
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:
        return
    user_logged_out.connect(_on_logout, dispatch_uid="pusherable")
    # A user who is saved as a proxy, or as a child with more fields, tells so under that model's name.
    for model in apps.get_models():
        if issubclass(model, user_model):
            pre_save.connect(_before_save, sender=model, dispatch_uid="pusherable")
            post_save.connect(_after_save, sender=model, dispatch_uid="pusherable")
            post_delete.connect(_after_delete, sender=model, dispatch_uid="pusherable")


def _on_logout(user: Any, **kwargs: Any) -> None:
    if user is not None and user.pk is not None and _is_wanted():
        _disconnect_later(user_id_of(user), using=_database_of(user))


def _before_save(instance: Model, raw: bool, using: str, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    vars(instance).pop(_MARK, None)
    own = {field.name for field in instance._meta.concrete_fields}
    watched = [name for name in _WATCHED if name in own and (update_fields is None or name in update_fields)]
    # Fixtures are loaded in any order; somebody who is new has no connection.
    if raw or not watched or instance._state.adding or not _is_wanted():
        return
    stored = type(instance)._base_manager.using(using).filter(pk=instance.pk).values(*watched).first()
    if stored and _loses_access(instance, stored, is_password_alone=set(update_fields or ()) == {"password"}):
        setattr(instance, _MARK, True)


def _after_save(instance: Model, using: str, **kwargs: Any) -> None:
    if vars(instance).pop(_MARK, False):
        _disconnect_later(user_id_of(instance), using=using)


def _after_delete(instance: Model, using: str, **kwargs: Any) -> None:
    if _is_wanted():
        _disconnect_later(user_id_of(instance), using=using)


def _loses_access(user: Any, stored: dict[str, Any], *, is_password_alone: bool) -> bool:
    if stored.get("is_active") and not user.is_active:
        return True
    if "password" not in stored or user.password == stored["password"]:
        return False
    # At a login Django writes the same password anew, if its hash is of an old kind, and does not call it a change.
    is_told_as_change = getattr(user, "_password", None) is not None
    return is_told_as_change or not (is_password_alone and _is_outdated(stored["password"]))


def _is_outdated(password: str) -> bool:
    try:
        hasher = identify_hasher(password)
    except ValueError:
        return False
    preferred = get_hasher()
    return hasher.algorithm != preferred.algorithm or preferred.must_update(password)


def _is_wanted() -> bool:
    """Whether users are disconnected at all: as the setting says, or else where the project lets them sign in."""
    try:
        chosen = settings.disconnect_users
        return bool(reverse("pusherable:user-auth")) if chosen is None else chosen
    except NoReverseMatch:
        return False
    except Exception as error:  # noqa: BLE001
        # A worker may have no URLs at all, or broken ones; a user has to be saved all the same.
        log_quietly(f"Users are not disconnected: {error}", cause="disconnecting users", error=error)
        return False


def _database_of(user: Any) -> str:
    # Not every project keeps its users in a database.
    return database_of(user) if isinstance(user, Model) else DEFAULT_DB_ALIAS


def _disconnect_later(user_id: str, *, using: str, immediate: bool = False) -> None:
    if is_suppressed():
        return
    if immediate or not connections[using].in_atomic_block:
        _hand_over(user_id)
    else:
        transaction.on_commit(partial(_hand_over, user_id), using=using, robust=True)


def _hand_over(user_id: str) -> None:
    try:
        get_backend().disconnect(user_id)
    except Exception as error:  # noqa: BLE001
        # A backend is anybody's code, and this may be somebody's logout.
        report_disconnect_failure(user_id, error)
