"""System checks: what is wrong with the settings and the views, before a visitor finds out."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.db.models import Model

from pusherable.backends import get_backend, get_backend_class
from pusherable.channels import ChannelKind
from pusherable.conf import SettingsError, settings
from pusherable.exceptions import InvalidChannel
from pusherable.inspecting import FoundView, find_private_tags, find_views, has_auth_view
from pusherable.management.features import read_features, read_limits
from pusherable.publishers import published_models
from pusherable.publishing import model_name_of
from pusherable.transport import make_tls_context


@register("pusherable")
def check_service(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E001``: the credentials or the address of the service are missing or malformed."""
    return _complaint(lambda: settings.service, "pusherable.E001")


@register("pusherable")
def check_browser(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E002``: the public address for browsers is malformed."""
    if _complaint(lambda: settings.service, ""):
        return []
    return _complaint(lambda: settings.browser, "pusherable.E002")


@register("pusherable")
def check_backend(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E003``: ``PUSHERABLE_BACKEND`` names no backend."""
    return _complaint(get_backend_class, "pusherable.E003")


@register("pusherable")
def check_json_encoder(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E004``: ``PUSHERABLE_JSON_ENCODER`` is no encoder."""
    return _complaint(lambda: settings.json_encoder, "pusherable.E004")


@register("pusherable")
def check_webhook_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E005``: ``PUSHERABLE_WEBHOOK_URL`` is malformed."""
    return _complaint(lambda: settings.webhook_url, "pusherable.E005")


@register("pusherable")
def check_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E040``: what ``runpushserver`` is told of its app and its limits is malformed."""
    return _complaint(lambda: (read_features(), read_limits()), "pusherable.E040")


@register("pusherable")
def check_encryption_master_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E010``: ``PUSHER_ENCRYPTION_MASTER_KEY`` is malformed, or missing where channels are encrypted."""
    complaints = _complaint(lambda: settings.encryption_master_key, "pusherable.E010")
    if complaints or settings.encryption_master_key is not None:
        return complaints
    users = _find_encrypted()
    if not users:
        return []
    return [
        Error(
            f"Nothing can be published on encrypted channels without PUSHER_ENCRYPTION_MASTER_KEY, which is not set. "
            f"They are asked for by {users[0]}.",
            hint="`openssl rand -base64 32` makes a key.",
            id="pusherable.E010",
        )
    ]


@register("pusherable")
def check_ca_file(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E011``: ``PUSHER_CA_FILE`` is no file with certificates."""
    if _complaint(lambda: settings.service, "") or not settings.service.ca_file:
        return []
    return _complaint(lambda: make_tls_context(ca_file=settings.service.ca_file), "pusherable.E011")


@register("pusherable")
def check_delivery(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E012``: a number for the threaded backend is malformed."""
    return _complaint(lambda: settings.delivery, "pusherable.E012")


@register("pusherable")
def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What pages listen by.

    ``pusherable.E050``: ``PUSHERABLE_TRANSPORT`` is malformed. ``pusherable.E051``: pages are to listen to event
    streams, which the hosted service has not. ``pusherable.E052``: they are to, but some channels are encrypted.
    """
    complaints = _complaint(lambda: settings.transport, "pusherable.E050")
    if complaints or settings.transport != "sse" or _complaint(lambda: settings.browser, ""):
        return complaints
    complaints = _complaint(lambda: settings.stream_server, "pusherable.E051")
    if users := _find_encrypted():
        complaints.append(
            Error(
                "Pages cannot read encrypted channels by event streams (PUSHERABLE_TRANSPORT = 'sse'). They are asked "
                f"for by {users[0]}.",
                hint="Make the channels private, or keep to PUSHERABLE_TRANSPORT = 'websocket'.",
                id="pusherable.E052",
            )
        )
    return complaints


@register("pusherable")
def check_stream_lifetime(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E053``: ``PUSHERABLE_STREAM_LIFETIME`` is no time, or longer than the server allows."""
    if _complaint(lambda: settings.server_limits, ""):
        return []
    return _complaint(lambda: settings.stream_lifetime, "pusherable.E053")


@register("pusherable")
def check_webhook_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E020``: ``PUSHERABLE_WEBHOOK_SECRETS`` is malformed."""
    if _complaint(lambda: settings.service, ""):
        return []
    return _complaint(lambda: settings.webhook_secrets, "pusherable.E020")


@register("pusherable")
def check_webhook_max_age(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E021``: ``PUSHERABLE_WEBHOOK_MAX_AGE`` is no time."""
    return _complaint(lambda: settings.webhook_max_age, "pusherable.E021")


@register("pusherable")
def check_disconnect_users(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E022``: ``PUSHERABLE_DISCONNECT_USERS`` is neither true nor false."""
    return _complaint(lambda: settings.disconnect_users, "pusherable.E022")


@register("pusherable")
def check_publishers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E030``: a model publishes a field that it does not have."""
    return [
        Error(f"@publishes of {model._meta.label}: {error}", obj=model, id="pusherable.E030")
        for model, publisher in published_models()
        for error in publisher.errors_of(model)
    ]


@register("pusherable")
def check_tasks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.W030``: the queue of the ``tasks`` backend runs tasks at once, in the page."""
    if _complaint(get_backend_class, "") or not getattr(get_backend(), "delivers_at_once", False):
        return []
    return [
        Warning(
            "PUSHERABLE_BACKEND hands events to tasks, but these run at once: every page waits for the service.",
            hint='Set TASKS to a queue with a worker, such as {"default": {"BACKEND": '
            '"django_tasks_db.DatabaseBackend"}}.',
            id="pusherable.W030",
        )
    ]


@register("pusherable")
def check_private_channels(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E006``: ``PUSHERABLE_PRIVATE_CHANNELS`` is malformed."""
    return _complaint(lambda: settings.private_channels, "pusherable.E006")


@register("pusherable")
def check_member_info(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E007``: ``PUSHERABLE_MEMBER_INFO`` is no function."""
    return _complaint(lambda: settings.member_info, "pusherable.E007")


@register("pusherable")
def check_views(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What views make of their channels.

    ``pusherable.E008``: ``pusher_private`` is malformed. ``pusherable.W001``: anybody may hear every field of a model.
    ``pusherable.W003``: private channels of two models have the same names. ``pusherable.W004``: a visitor is refused
    later than the view is asked.
    """
    if _complaint(lambda: settings.private_channels, ""):
        return []
    views = {view.view_class: view for view in reversed(find_views())}.values()
    malformed = [view for view in views if _kind_of(view) is None]
    exposing = [view for view in views if _kind_of(view) is ChannelKind.PUBLIC and _exposes_every_field(view)]
    return [
        *(
            Error(
                f"{view}: pusher_private is {view.read('pusher_private')!r}; it is True, False, 'encrypted' or None.",
                obj=view.view_class,
                id="pusherable.E008",
            )
            for view in malformed
        ),
        *(
            Warning(
                f"{view} publishes all fields of its model on a public channel, where anybody may listen.",
                hint="Name the fields by pusher_include_model_fields or pusher_exclude_model_fields, or make the "
                "channel private by pusher_private = True or PUSHERABLE_PRIVATE_CHANNELS = True.",
                obj=view.view_class,
                id="pusherable.W001",
            )
            for view in exposing
        ),
        *_find_namesakes(views),
        *_find_late_refusals(views),
    ]


@register("pusherable")
def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.W002``: private channels, but nobody to authorize them."""
    if _complaint(lambda: settings.private_channels, "") or has_auth_view():
        return []
    users = ["PUSHERABLE_PRIVATE_CHANNELS"] if settings.private_channels is not ChannelKind.PUBLIC else []
    users += [str(view) for view in find_views() if _kind_of(view) not in (None, ChannelKind.PUBLIC)]
    users += find_private_tags()
    if not users:
        return []
    more = f" (and {len(users) - 3} more)" if len(users) > 3 else ""
    return [
        Warning(
            f"Nobody can listen to private channels, since the views that authorize them have no address. They are "
            f"asked for by {', '.join(users[:3])}{more}.",
            hint='Add path("pusher/", include("pusherable.urls")) to your URLconf.',
            id="pusherable.W002",
        )
    ]


def _find_encrypted() -> list[str]:
    """What asks for encrypted channels."""
    if _complaint(lambda: settings.private_channels, ""):
        return []
    users = ["PUSHERABLE_PRIVATE_CHANNELS"] if settings.private_channels is ChannelKind.ENCRYPTED else []
    return users + [str(view) for view in find_views() if _kind_of(view) is ChannelKind.ENCRYPTED]


def _kind_of(view: FoundView) -> ChannelKind | None:
    try:
        return view.kind
    except InvalidChannel:
        return None


def _exposes_every_field(view: FoundView) -> bool:
    # Of channels that the project names itself nobody knows who listens.
    return view.publishes_every_field and not view.overrides("get_pusher_channel", "get_pusher_channels")


def _find_late_refusals(views: Iterable[FoundView]) -> list[CheckMessage]:
    return [
        Warning(
            f"{view} seems to refuse visitors in {' and '.join(view.late_refusals)}, which is not asked for its "
            "private channel: they get no page, but its events.",
            hint="Refuse in dispatch(), get_queryset(), get_object() or a get() of your own.",
            obj=view.view_class,
            id="pusherable.W004",
        )
        for view in views
        if _kind_of(view) not in (None, ChannelKind.PUBLIC) and view.late_refusals
    ]


def _find_namesakes(views: Iterable[FoundView]) -> list[CheckMessage]:
    models: dict[str, set[type[Model]]] = defaultdict(set)
    for view in views:
        is_private = _kind_of(view) not in (None, ChannelKind.PUBLIC)
        if is_private and view.model is not None and not view.overrides("get_pusher_channel"):
            concrete = view.model._meta.concrete_model or view.model
            models[model_name_of(concrete)].add(concrete)
    return [
        Warning(
            f"{' and '.join(sorted(model._meta.label for model in namesakes))} share their private channels "
            f"({name}_1, {name}_2…): whoever may see an object of one of them hears of the other's.",
            hint="Give one of them channels of its own by get_pusher_channel().",
            id="pusherable.W003",
        )
        for name, namesakes in sorted(models.items())
        if len(namesakes) > 1
    ]


def _complaint(read: Callable[[], object], id: str) -> list[CheckMessage]:
    try:
        read()
    except SettingsError as error:
        return [Error(str(error), id=id)]
    return []
