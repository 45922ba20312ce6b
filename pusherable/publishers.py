"""Models that publish by themselves, on every save and deletion, where they ask for it with ``@publishes``."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.db.models import Model
from django.db.models.signals import class_prepared, m2m_changed, post_save, pre_delete

from pusherable.bulk import BATCH_SIZE
from pusherable.channels import Privacy
from pusherable.claims import Attribution, current_claim, publishing_models
from pusherable.commits import is_waiting, send
from pusherable.exceptions import UnknownField
from pusherable.failures import report_failure
from pusherable.publishing import channel_of, compose, identity_of
from pusherable.serialization import FieldNames, published_names, serialize_many
from pusherable.suppression import is_suppressed

Published = TypeVar("Published", bound=type[Model])

EVENTS: Final = ("created", "updated", "deleted")
# Where the owners of a relation that is being cleared from its other side are kept meanwhile.
_CLEARED: Final = "_pusherable_cleared"


@dataclass(frozen=True)
class Publisher:
    """What a model has asked for."""

    events: tuple[str, ...]
    include: FieldNames
    exclude: FieldNames
    channels: Callable[[Any, str], str | Iterable[str]] | None
    private: Privacy | None

    def names_of(self, model: type[Model]) -> frozenset[str]:
        """The names of the fields that it publishes."""
        return published_names(model, include=self.include, exclude=self.exclude)

    def errors_of(self, model: type[Model]) -> list[UnknownField]:
        """What is wrong with the names of fields."""
        try:
            self.names_of(model)
        except UnknownField as error:
            return [error]
        return []

    def channels_of(self, instance: Model, event: str) -> str | Iterable[str]:
        if self.channels is not None:
            return self.channels(instance, event)
        own = channel_of(instance, private=self.private)
        return [own, channel_of(type(instance), private=self.private)] if event == "created" else own


_publishers: dict[type[Model], Publisher] = {}


def publishes(
    *events: str,
    include: FieldNames = None,
    exclude: FieldNames = None,
    channels: Callable[[Any, str], str | Iterable[str]] | None = None,
    private: Privacy | None = None,
) -> Callable[[Published], Published]:
    """Let a model publish ``created``, ``updated`` and ``deleted``, or some of them, from wherever it is changed.

    ``include`` and ``exclude`` name fields (see ``serialize``), ``channels`` is asked for the channels with the object
    and the event, ``private`` says their kind. On an abstract model it counts for each model that is made of it; on a
    proxy for what is saved through the proxy.

    Inside of a view with a mixin the event has the view's user and origin, and is left out where the view tells the
    same. Whatever goes wrong is reported as ``publish_failed`` and stops no save. Raises ``TypeError`` for other
    events.
    """
    if not events or not set(events) <= set(EVENTS):
        wrong = ", ".join(map(repr, events)) or "nothing"
        raise TypeError(f"publishes() takes some of {', '.join(map(repr, EVENTS))}, not {wrong}.")

    def decorate(model: Published) -> Published:
        _publishers[model] = Publisher(events, include, exclude, channels, private)
        publishing_models.add(model)
        if not model._meta.abstract:
            _connect(model)
        return model

    return decorate


def tellers_of(model: type[Model]) -> dict[type[Model], Publisher]:
    """Every model that tells of what happens to an object of ``model``, in whose table some of its row is kept."""
    tellers: dict[Any, tuple[type[Model], Publisher]] = {}
    for each in model.__mro__:
        options: Any = getattr(each, "_meta", None)
        publisher = _publisher_of(each)
        if publisher is not None and not options.abstract:
            tellers.setdefault(options.concrete_model, (each, publisher))
    return dict(tellers.values())


def published_models() -> Iterator[tuple[type[Model], Publisher]]:
    """All models that publish by themselves, as far as they have been made."""
    for model, publisher in _publishers.items():
        heirs = _heirs_of(model) if model._meta.abstract else [model]
        yield from ((heir, publisher) for heir in heirs)


def _heirs_of(model: type[Model]) -> Iterator[type[Model]]:
    for heir in model.__subclasses__():
        if heir._meta.abstract:
            yield from _heirs_of(heir)
        else:
            yield heir


def _publisher_of(model: type) -> Publisher | None:
    """What the model has asked for, or an abstract one that it is made of."""
    if not issubclass(model, Model) or model is Model:
        return None
    if model in _publishers:
        return _publishers[model]
    abstract = (base for base in model.__bases__ if getattr(getattr(base, "_meta", None), "abstract", False))
    return next(filter(None, map(_publisher_of, abstract)), None)


def _connect(model: type[Model]) -> None:
    post_save.connect(_tell_of_save, sender=model)
    pre_delete.connect(_tell_of_deletion, sender=model)
    for field in model._meta.many_to_many:
        through = field.remote_field.through
        if isinstance(through, str):
            # It is connected when that model is made.
            through = through if "." in through else f"{field.model._meta.app_label}.{through}"
        m2m_changed.connect(_tell_of_relations, sender=through)


def _connect_if_told(sender: type[Model], **kwargs: Any) -> None:
    if tellers_of(sender):
        _connect(sender)


# For the models that are made of one that publishes, later.
class_prepared.connect(_connect_if_told)


def _tell_of_save(
    sender: type[Model],
    instance: Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: frozenset[str] | None,
    **kwargs: Any,
) -> None:
    if raw:
        return
    event = "created" if created else "updated"
    for model, publisher in tellers_of(sender).items():
        with _reporting(model, event):
            if update_fields is None or created or not publisher.names_of(model).isdisjoint(update_fields):
                _publish(model, publisher, [_as(model, instance, using=using)], event, using=using)


def _tell_of_deletion(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    # Composed while the row and its relations are there. Django deletes in a transaction, whose rollback it does not
    # survive; of a child, it deletes the parent by itself.
    for model, publisher in tellers_of(sender).items():
        if model._meta.concrete_model is sender._meta.concrete_model:
            with _reporting(model, "deleted"):
                _publish(model, publisher, [instance], "deleted", using=using)


def _tell_of_relations(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None,
    using: str,
    **kwargs: Any,
) -> None:
    owner = model if reverse else type(instance)
    for teller, publisher in tellers_of(owner).items():
        field = next((each for each in teller._meta.many_to_many if each.remote_field.through is sender), None)
        if field is None:
            continue
        with _reporting(teller, "updated"):
            if field.name not in publisher.names_of(teller):
                continue
            if not reverse:
                owners = [_as(teller, instance, using=using)] if action in _CHANGES and pk_set != set() else []
            else:
                owners = _owners(teller, field, instance, action, pk_set, using=using)
            for start in range(0, len(owners), BATCH_SIZE):
                _publish(teller, publisher, owners[start : start + BATCH_SIZE], "updated", using=using)


_CHANGES: Final = ("post_add", "post_remove", "post_clear")


def _owners(
    model: type[Model], field: Any, related: Model, action: str, pks: set[Any] | None, *, using: str
) -> list[Model]:
    """The objects whose relation to ``related`` has changed."""
    objects = model._base_manager.using(using)
    if action == "pre_clear":
        vars(related)[_CLEARED] = list(objects.filter(**{field.name: related}).values_list("pk", flat=True))
    if action not in _CHANGES:
        return []
    if action == "post_clear":
        pks = vars(related).pop(_CLEARED, None)
    return list(objects.filter(pk__in=pks or ()))


def _as(model: type[Model], instance: Model, *, using: str) -> Model:
    """``instance`` itself, or the parent that a child has in the table of ``model``."""
    if instance._meta.concrete_model is model._meta.concrete_model:
        return instance
    values = {
        field.attname: vars(instance)[field.attname]
        for field in model._meta.concrete_fields
        if field.attname in vars(instance)
    }
    return model.from_db(using, list(values), list(values.values()))


def _publish(model: type[Model], publisher: Publisher, objects: list[Model], event: str, *, using: str) -> None:
    is_asked_for = event in publisher.events or (event == "updated" and "created" in publisher.events)
    if is_suppressed(model) or not is_asked_for:
        return
    claim = current_claim()
    user, origin, socket_id = claim.attribution if claim is not None else Attribution()
    data = serialize_many(objects, include=publisher.include, exclude=publisher.exclude)
    for instance, object_data in zip(objects, data, strict=True):
        identity = identity_of(instance)
        # Relations are saved after the object: within one transaction or view they are part of its creation.
        is_new = is_waiting(identity, using=using) or (claim is not None and claim.holds("created", *identity))
        name = "created" if event == "updated" and is_new else event
        if name not in publisher.events:
            continue
        composed = compose(
            instance,
            name,
            object_data=object_data,
            channels=publisher.channels_of(instance, name),
            user=user,
            origin=origin,
            socket_id=socket_id,
            is_automatic=True,
            source=model,
        )
        send((composed,), using=using, mark=identity if name == "created" else None)


@contextmanager
def _reporting(model: type[Model], event: str) -> Iterator[None]:
    """What cannot be published stops no save."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        report_failure(None, error, sender=model, name=f"{event} of {model._meta.label}")
