"""View mixins: the page that is opened, and the work that is committed, become events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from inspect import isawaitable, iscoroutinefunction
from typing import Any, ClassVar, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.views.generic import View

from pusherable.channels import Privacy
from pusherable.claims import Attribution, Claim, publishing_models
from pusherable.commits import hand_over, send
from pusherable.events import MAX_DATA_SIZE, Event
from pusherable.exceptions import UnknownField
from pusherable.failures import report_failure
from pusherable.planning import find_plan
from pusherable.publishing import (
    channel_of,
    compose,
    database_of,
    member_info_of,
    not_an_object,
    request_origin,
    socket_id_of,
    username_of,
)
from pusherable.serialization import FieldNames, serialize
from pusherable.suppression import is_suppressed, silences

#: What tells the next page of the work that its visitor has just done; read by ``pusherable.js``.
ORIGIN_COOKIE: Final = "pusherable_origin"
#: The attribute of a request that only asks what the view would show; what it holds is told by ``attend`` of the view.
PROBE_ATTRIBUTE: Final = "_pusherable_probe"
#: Seconds in which that page is there, on a slow phone too.
ORIGIN_COOKIE_AGE: Final = 60

#: What a plan does without; ``get_pusher_reduced_object_data`` is asked for nothing that fits.
_HOOKS: Final = frozenset({"get_pusher_object_data", "get_pusher_channels", "get_pusher_channel", "get_pusher_user"})


class PusherMixin:
    """For any class-based view that sets ``self.object``; stands before the view among the bases.

    A GET answered with success publishes ``pusher_event_name``. What cannot be published never breaks the
    page: it is logged, and sent as the signal ``publish_failed``. Only ``UnknownField`` is raised, which no
    request could heal.
    """

    #: The event of the page being opened; empty for none.
    pusher_event_name: str = ""
    #: The event of the work being done; empty for none.
    pusher_committed_event_name: str = ""
    #: A field's name or several, to publish in place of the editable ones.
    pusher_include_model_fields: FieldNames = None
    #: A field's name or several, never to publish.
    pusher_exclude_model_fields: FieldNames = None
    #: ``True`` for a private channel, ``"encrypted"``, ``False``; ``None`` for what the setting says.
    pusher_private: Privacy | None = None

    #: Bytes of UTF-8 that an event's data may have, up to 10,240; larger ones go out reduced.
    pusher_max_size: int = MAX_DATA_SIZE
    #: The methods of the view that do its work.
    pusher_committing_methods: ClassVar[tuple[str, ...]] = ()

    request: HttpRequest
    object: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if View in order and order.index(View) < order.index(PusherMixin):
            mixin = next(base for base in cls.__bases__ if issubclass(base, PusherMixin))
            raise TypeError(f"{cls.__qualname__} has to name {mixin.__qualname__} before its view among its bases.")
        if not 0 < cls.pusher_max_size <= MAX_DATA_SIZE:
            raise ImproperlyConfigured(
                f"{cls.__qualname__}.pusher_max_size is {cls.pusher_max_size!r}; it is a number of bytes from 1 to "
                f"{MAX_DATA_SIZE}, which no service exceeds."
            )

    def should_publish(self, event: str) -> bool:
        """Whether this request publishes ``event``: by default always, but for a page loaded ahead of its reader."""
        return "prefetch" not in self.request.META.get("HTTP_SEC_PURPOSE", "")

    def get_pusher_object(self) -> Any:
        """The instance that events are about, ``self.object``; ``None`` publishes nothing."""
        try:
            return self.object
        except AttributeError:
            raise ImproperlyConfigured(
                f"{type(self).__qualname__} has no self.object. Set it in your view, or override get_pusher_object()."
            ) from None

    def get_pusher_channel(self) -> str:
        """The object's channel, ``modelname_pk``, with the prefix of its kind (``private-modelname_pk``)."""
        return channel_of(self.get_pusher_object(), private=self.pusher_private)

    def get_pusher_channels(self, event: str) -> Iterable[str]:
        """The channels of ``event``: the object's; for ``created`` also the model's, which lists listen to."""
        if event == "created":
            model = self.get_pusher_object()._meta.model
            return [self.get_pusher_channel(), channel_of(model, private=self.pusher_private)]
        return [self.get_pusher_channel()]

    def get_pusher_object_data(self) -> dict[str, Any]:
        """What is published as ``object``."""
        return serialize(
            self.get_pusher_object(),
            include=self.pusher_include_model_fields,
            exclude=self.pusher_exclude_model_fields,
        )

    def get_pusher_reduced_object_data(self, object_data: dict[str, Any]) -> dict[str, Any]:
        """What is published as ``object`` where ``object_data`` is too large: by default the primary key alone."""
        pk_names = {field.name for field in self.get_pusher_object()._meta.pk_fields}
        return {name: value for name, value in object_data.items() if name in pk_names}

    def get_pusher_user(self) -> str:
        """What is published as ``user``: the username, ``""`` for an anonymous visitor."""
        return username_of(getattr(self.request, "user", None))

    def get_pusher_member_info(self) -> Mapping[str, Any]:
        """What the other members of the object's presence channel are told of this visitor, up to 1 KB."""
        return member_info_of(self.request.user)

    def publish(self, event: str) -> Event | None:
        """Publish ``event`` about the view's object, as the mixin itself does.

        Returns what was sent, or ``None``. For a view whose work is done elsewhere than in ``form_valid``.
        """
        composed = self._compose(event)
        if composed is None:
            return None
        instance, made = composed
        send((made,), using=database_of(instance))
        return made

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)  # type: ignore[misc]
        # Around the view's own methods, so that an override without super() publishes too.
        for name in self.pusher_committing_methods:
            if hasattr(self, name):
                setattr(self, name, self._committing(getattr(self, name)))
        probe = getattr(request, PROBE_ATTRIBUTE, None)
        if probe is not None:
            probe.attend(self)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        probe = getattr(request, PROBE_ATTRIBUTE, None)
        if probe is not None:
            probe.expect(self)
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if publishing_models:
            return self._dispatch_claiming(request, *args, **kwargs)
        response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        # The second look is a slow one.
        if not isinstance(response, HttpResponseBase) and isawaitable(response):
            return self._conclude_later(response)
        return self._conclude(response)

    def _dispatch_claiming(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        claim = Claim(self.pusher_committed_event_name, self._attribute)
        try:
            with claim:
                response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        finally:
            if held := claim.end():
                hand_over(held)
        if not isinstance(response, HttpResponseBase) and isawaitable(response):
            return self._conclude_later(self._await_claiming(claim, response))
        return self._conclude(response)

    async def _await_claiming(self, claim: Claim, answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        try:
            with claim:
                return await answer
        finally:
            if held := claim.end():
                await sync_to_async(hand_over)(held)

    async def _conclude_later(self, answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        return await sync_to_async(self._conclude)(await answer)

    def _conclude(self, response: HttpResponseBase) -> HttpResponseBase:
        if self.pusher_event_name and self.request.method == "GET" and 200 <= response.status_code < 300:
            if isinstance(response, SimpleTemplateResponse):
                # A page whose template fails has not been opened.
                response.add_post_render_callback(self._publish_rendered)
            else:
                self.publish(self.pusher_event_name)
        if self._has_committed:
            self._mark_as_own(response)
        return response

    def _attribute(self) -> Attribution:
        return Attribution(self.get_pusher_user(), request_origin(self.request), socket_id_of(self.request))

    def _publish_rendered(self, response: HttpResponseBase) -> None:
        if 200 <= response.status_code < 300:
            self.publish(self.pusher_event_name)

    def _mark_as_own(self, response: HttpResponseBase) -> None:
        """The page that comes next, often by a redirect, need not be told of what its visitor has just done."""
        response.set_cookie(
            ORIGIN_COOKIE,
            request_origin(self.request),
            max_age=ORIGIN_COOKIE_AGE,
            secure=self.request.is_secure(),
            samesite="Lax",
        )

    def _committing(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method`` with its event; where one such method calls another, only the outer one publishes."""

        @wraps(method)
        def commit(*args: Any, **kwargs: Any) -> Any:
            if self._is_committing:
                return method(*args, **kwargs)
            with self._commit_begun():
                prepared = self._before_commit()
                response = method(*args, **kwargs)
                self._after_commit(response, prepared, *args)
            return response

        @wraps(method)
        async def acommit(*args: Any, **kwargs: Any) -> Any:
            if self._is_committing:
                return await method(*args, **kwargs)
            with self._commit_begun():
                prepared = await sync_to_async(self._before_commit)()
                response = await method(*args, **kwargs)
                await sync_to_async(self._after_commit)(response, prepared, *args)
            return response

        return acommit if iscoroutinefunction(method) else commit

    _is_committing = False
    _has_committed = False

    @contextmanager
    def _commit_begun(self) -> Iterator[None]:
        self._is_committing = True
        try:
            yield
        finally:
            self._is_committing = False

    def _before_commit(self) -> Callable[[], object]:
        """What to do once the work has succeeded."""
        return lambda: self.publish(self.pusher_committed_event_name)

    def _after_commit(self, response: HttpResponseBase | None, succeed: Callable[[], object], *args: Any) -> None:
        subject = args[0] if args else None
        # A method that answers with no response, as those of a REST framework, has not refused.
        has_refused = getattr(response, "status_code", 200) >= 400
        if has_refused or (isinstance(subject, BaseForm) and subject.errors):
            return
        if getattr(self, "object", None) is None:
            # An overridden form_valid has not kept what it saved; its form has.
            self.object = getattr(subject, "instance", None)
        self._has_committed = True
        succeed()

    def _compose(self, event: str) -> tuple[Model, Event] | None:
        """The object and its event, or ``None`` where nothing is to be published, or cannot be."""
        if not event or (silences() and is_suppressed()) or not self.should_publish(event):
            return None
        try:
            instance = self.get_pusher_object()
            if instance is None:
                return None
            if not isinstance(instance, Model):
                raise not_an_object(instance, f"{type(self).__qualname__}.get_pusher_object()")
            if silences() and is_suppressed(instance._meta.model):
                return None
            return instance, self._compose_by_plan(instance, event) or self._compose_by_hooks(instance, event)
        except UnknownField:
            raise
        except Exception as error:  # noqa: BLE001
            # The page is the visitor's: nothing that a notification meets may break it.
            report_failure(None, error, sender=type(self), name=f"{event} of {type(self).__qualname__}")
            return None

    def _compose_by_hooks(self, instance: Any, event: str) -> Event:
        return compose(
            instance,
            event,
            object_data=self.get_pusher_object_data(),
            channels=self.get_pusher_channels(event),
            user=self.get_pusher_user(),
            origin=request_origin(self.request),
            socket_id=socket_id_of(self.request),
            max_size=self.pusher_max_size,
            reduce=self.get_pusher_reduced_object_data,
            source=type(self),
        )

    def _compose_by_plan(self, instance: Any, event: str) -> Event | None:
        """What the hooks would make of it, without asking them, where none has been overridden."""
        view, usual = type(self), PusherMixin
        is_usual = (
            view.get_pusher_object_data is usual.get_pusher_object_data
            and view.get_pusher_channels is usual.get_pusher_channels
            and view.get_pusher_channel is usual.get_pusher_channel
            and view.get_pusher_user is usual.get_pusher_user
            and _HOOKS.isdisjoint(vars(self))
        )
        if event == "created" or not is_usual:
            return None
        plan = find_plan(
            instance._meta.model,
            event,
            include=self.pusher_include_model_fields,
            exclude=self.pusher_exclude_model_fields,
            private=self.pusher_private,
        )
        if plan is None:
            return None
        return plan.compose(
            instance,
            user=username_of(getattr(self.request, "user", None)),
            origin=request_origin(self.request),
            socket_id=socket_id_of(self.request),
            max_size=self.pusher_max_size,
        )


class PusherDetailMixin(PusherMixin):
    """``view``: somebody is looking at the object."""

    pusher_event_name = "view"


class PusherUpdateMixin(PusherMixin):
    """``update``: somebody has opened the form; ``updated``: the change is committed."""

    pusher_event_name = "update"
    pusher_committed_event_name = "updated"
    pusher_committing_methods = ("form_valid",)


class PusherCreateMixin(PusherMixin):
    """``created``: there is a new object. It is told on the model's channel too (``post``), which lists listen to."""

    pusher_committed_event_name = "created"
    pusher_committing_methods = ("form_valid",)


class PusherDeleteMixin(PusherMixin):
    """``delete``: somebody is asked whether to delete it; ``deleted``: the object is gone."""

    pusher_event_name = "delete"
    pusher_committed_event_name = "deleted"
    pusher_committing_methods = ("form_valid", "delete")

    def _before_commit(self) -> Callable[[], object]:
        """Compose while the row is there; an HTTP DELETE gets here before its view has looked it up."""
        if getattr(self, "object", None) is None:
            self.object = self.get_object()  # type: ignore[attr-defined]
        composed = self._compose(self.pusher_committed_event_name)
        if composed is None:
            return lambda: None
        instance, event = composed
        return partial(self._send_if_gone, event, instance, instance.pk)

    def _send_if_gone(self, event: Event, instance: Any, pk: Any) -> None:
        """Send, but for an object that a protected relation, or a soft deletion, has left where it was."""
        using = database_of(instance)
        if instance.pk is None or not instance._meta.model._base_manager.using(using).filter(pk=pk).exists():
            send((event,), using=using)
