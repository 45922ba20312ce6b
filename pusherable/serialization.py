"""A model instance as plain data, by lists of the fields to include and to exclude."""

import datetime
import decimal
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from inspect import getattr_static
from itertools import chain
from typing import Any, Final, NamedTuple

from django.db.models import Field, ManyToManyField, Model, Prefetch, prefetch_related_objects
from django.db.models.fields.files import FieldFile
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute

from pusherable.exceptions import UnknownField

#: One field's name, several, or ``None`` for the default choice.
FieldNames = str | Collection[str] | None

# Whatever else a model calls its secrets is the project's to exclude.
_NEVER_BY_DEFAULT = frozenset({"password"})

# Values of these types are no expressions.
_PLAIN_TYPES: Final = frozenset(
    {
        *(type(None), bool, int, float, str, dict, list),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
    }
)


class _Plan(NamedTuple):
    """The fields to publish of a model."""

    fields: tuple[Any, ...]
    #: Name and attribute of each of them, if all are kept in the instance as they are published.
    plain: tuple[tuple[str, str], ...] | None


def serialize(instance: Model, *, include: FieldNames = None, exclude: FieldNames = None) -> dict[str, Any]:
    """The instance's values by field name, ready for ``DjangoJSONEncoder``.

    Without ``include`` these are the editable fields, as ``model_to_dict`` has them, but no ``password``. The
    primary key is added to any choice, and ``exclude`` goes before everything. Foreign keys are the stored
    value, many-to-many relations a list of primary keys (one query, unless prefetched), files their URL, or
    their name where the storage has no URLs. Deferred fields, and those that hold an expression such as
    ``F("n") + 1``, are read from the database, all in one query.

    Raises ``UnknownField`` for a name that is no field of the model.
    """
    # Not type(instance): request.user is a lazy object around the real one.
    fields, plain = _plan(
        instance._meta.model,
        None if include is None else as_names(include),
        None if exclude is None else as_names(exclude),
    )
    if plain is not None and (data := _read_plainly(instance, plain)) is not None:
        return data
    unread = _unread_names(instance, fields)
    stored = _read_again(instance._meta.model, {instance.pk: unread}, using=instance._state.db)
    return _collect(instance, fields, unread, stored.get(instance.pk), related={})


def serialize_many(
    instances: Sequence[Model], *, include: FieldNames = None, exclude: FieldNames = None
) -> list[dict[str, Any]]:
    """What ``serialize`` gives for each of them, with a number of queries that does not grow with theirs.

    It is one for each many-to-many field of each model among them, and one more for whatever is not loaded. The
    instances stay as they are: nothing is left in their caches.
    """
    alike: dict[tuple[type[Model], str | None], list[int]] = {}
    for place, instance in enumerate(instances):
        alike.setdefault((instance._meta.model, instance._state.db), []).append(place)
    data: list[dict[str, Any]] = [{}] * len(instances)
    for (model, using), places in alike.items():
        plan = _plan(model, as_names(include), as_names(exclude))
        rows = _serialize_alike([instances[place] for place in places], plan, model=model, using=using)
        for place, row in zip(places, rows, strict=True):
            data[place] = row
    return data


def _serialize_alike(
    instances: Sequence[Model], plan: _Plan, *, model: type[Model], using: str | None
) -> list[dict[str, Any]]:
    unread = [_unread_names(instance, plan.fields) for instance in instances]
    needed = {instance.pk: names for instance, names in zip(instances, unread, strict=True)}
    stored = _read_again(model, needed, using=using)
    related = {
        field.name: _related_pks_of_many(field, instances, model=model, using=using)
        for field in plan.fields
        if isinstance(field, ManyToManyField)
    }
    return [
        _collect(instance, plan.fields, names, stored.get(instance.pk), related=related)
        for instance, names in zip(instances, unread, strict=True)
    ]


def _collect(
    instance: Model,
    fields: tuple[Any, ...],
    unread: set[str],
    stored: Model | None,
    *,
    related: dict[str, dict[Any, list[Any]]],
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields:
        if field.name in related:
            values[field.name] = related[field.name].get(instance.pk, [])
        elif field.attname not in unread:
            values[field.name] = _value(field, instance)
        elif stored is not None:
            values[field.name] = _value(field, stored)
    return values


def as_names(names: FieldNames) -> tuple[str, ...] | None:
    """The names as a tuple; raises ``TypeError`` for what could be read only once."""
    if names is None or isinstance(names, str):
        return names if names is None else (names,)
    if not isinstance(names, Iterable):
        raise TypeError(f"{names!r} is no field's name, and holds none: write 'title' or ['title', 'body'].")
    if isinstance(names, Iterator):
        raise TypeError(f"{names!r} can be read only once, so it would name no fields the second time: write a list.")
    return tuple(names)


def published_names(model: type[Model], *, include: FieldNames = None, exclude: FieldNames = None) -> frozenset[str]:
    """The names that ``serialize`` would give such an instance's values, and those of their attributes."""
    fields = _plan(model, as_names(include), as_names(exclude)).fields
    return frozenset(name for field in fields for name in (field.name, field.attname))


def plain_attributes(
    model: type[Model], *, include: FieldNames = None, exclude: FieldNames = None
) -> tuple[tuple[str, str], ...] | None:
    """Name and attribute of what ``serialize`` publishes, if all of it is kept in the instance as it is published.

    Raises ``UnknownField`` for a name that is no field of the model.
    """
    return _plan(model, as_names(include), as_names(exclude)).plain


def _read_plainly(instance: Model, plain: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """The values straight from the instance: the most frequent case, and a page waits for it."""
    values = instance.__dict__
    try:
        data = {name: values[attname] for name, attname in plain}
    except KeyError:
        return None
    return data if _PLAIN_TYPES.issuperset(map(type, data.values())) else None


@lru_cache(maxsize=1024)
def _plan(model: type[Model], include: tuple[str, ...] | None, exclude: tuple[str, ...] | None) -> _Plan:
    fields = _chosen_fields(model, include, exclude)
    is_plain = all(_is_plain(field, model) for field in fields)
    return _Plan(fields, tuple((field.name, field.attname) for field in fields) if is_plain else None)


def _is_plain(field: Any, model: type[Model]) -> bool:
    kept_as = type(getattr_static(model, field.attname, None))
    reads_attribute = type(field).value_from_object is Field.value_from_object
    return reads_attribute and kept_as in (DeferredAttribute, ForeignKeyDeferredAttribute)


def _chosen_fields(
    model: type[Model], include: tuple[str, ...] | None, exclude: tuple[str, ...] | None
) -> tuple[Any, ...]:
    options = model._meta
    fields: dict[str, Field[Any, Any]] = {
        field.name: field for field in chain(options.concrete_fields, options.many_to_many)
    }
    pk_names = {field.name for field in options.pk_fields}
    _check_names((*(include or ()), *(exclude or ())), fields, model)
    if include is None:
        chosen = {name for name, field in fields.items() if field.editable} - _NEVER_BY_DEFAULT
    else:
        chosen = _spell_out(include, pk_names)
    excluded = _spell_out(exclude or (), pk_names)
    return tuple(field for name, field in fields.items() if name in (chosen | pk_names) - excluded)


def _check_names(names: tuple[str, ...], fields: dict[str, Any], model: type[Model]) -> None:
    unknown = tuple(name for name in names if name != "pk" and name not in fields)
    if unknown:
        raise UnknownField(
            f"{', '.join(map(repr, unknown))} {'is no field' if len(unknown) == 1 else 'are no fields'} of "
            f"{model._meta.label}. Mend include or exclude, or in a view pusher_include_model_fields or "
            f"pusher_exclude_model_fields; the fields are: {', '.join(fields)}.",
            names=unknown,
        )


def _spell_out(names: tuple[str, ...], pk_names: set[str]) -> set[str]:
    """The names with ``pk`` replaced by the fields that it stands for."""
    return (set(names) - {"pk"}) | (pk_names if "pk" in names else set())


def _unread_names(instance: Model, fields: tuple[Any, ...]) -> set[str]:
    """The attributes among ``fields`` whose value only the database knows."""
    names = instance.get_deferred_fields() & {field.attname for field in fields}
    values = instance.__dict__
    return names | {field.attname for field in fields if hasattr(values.get(field.attname), "resolve_expression")}


def _read_again(model: type[Model], unread: dict[Any, set[str]], *, using: str | None) -> dict[Any, Model]:
    """The stored rows, by primary key, with the attributes that are named for any; instances stay as they are."""
    names = set().union(*unread.values())
    if not names:
        return {}
    pks = [pk for pk, missing in unread.items() if missing]
    return {row.pk: row for row in model._base_manager.using(using).only(*names).filter(pk__in=pks)}


def _value(field: Any, instance: Model) -> Any:
    if isinstance(field, ManyToManyField):
        return _related_pks(field, instance)
    value = field.value_from_object(instance)
    return _file_address(value) if isinstance(value, FieldFile) else value


def _related_pks(field: Any, instance: Model) -> list[Any]:
    if instance.pk is None:
        return []
    if field.name in getattr(instance, "_prefetched_objects_cache", ()):
        return [related.pk for related in getattr(instance, field.name).all()]
    return list(getattr(instance, field.name).values_list("pk", flat=True))


def _related_pks_of_many(
    field: Any, instances: Sequence[Model], *, model: type[Model], using: str | None
) -> dict[Any, list[Any]]:
    """The related primary keys by that of the instance."""
    prefetched = [each for each in instances if field.name in getattr(each, "_prefetched_objects_cache", ())]
    pks = {each.pk: _related_pks(field, each) for each in prefetched}
    missing = [each for each in instances if each.pk is not None and each.pk not in pks]
    if missing:
        # What is prefetched stays with an instance; the project's own must not grow old by that.
        names = [*(each.attname for each in model._meta.pk_fields), field.m2m_target_field_name()]
        names = [each.attname for each in model._meta.concrete_fields if each.attname in names]
        shells = [model.from_db(using, names, [getattr(each, name) for name in names]) for each in missing]
        keys_alone = field.related_model._default_manager.using(using).only("pk")
        prefetch_related_objects(shells, Prefetch(field.name, queryset=keys_alone))
        pks |= {shell.pk: _related_pks(field, shell) for shell in shells}
    return pks


def _file_address(file: FieldFile) -> str:
    if not file:
        return ""
    try:
        return file.url
    except (NotImplementedError, ValueError):
        return file.name or ""
