"""What a project's addresses and templates say about its channels, for the system checks; no view or template runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.template import engines
from django.template.backends.django import DjangoTemplates
from django.urls import NoReverseMatch, URLResolver, get_resolver, reverse

from pusherable.channels import ChannelKind, kind_for
from pusherable.conf import settings
from pusherable.mixins import PusherMixin
from pusherable.probing import GENERIC_GETS

# What a page needs the auth view for, whatever the settings say.
_PRIVATE_TAG = re.compile(
    r"{%\s*(pusherable_presence)\b|{%\s*(pusherable_subscribe)\b(?:(?!%}).)*\sprivate=(?!False\b|None\b)"
)
# What Django's own views call after get_object(), and what a method that refuses there is made of.
_LATER_METHODS = ("get_context_data", "get_form", "get_form_kwargs", "get_initial", "render_to_response")
_REFUSING_NAMES = frozenset(
    {"Http404", "HttpResponseForbidden", "HttpResponseRedirect", "PermissionDenied", "get_object_or_404", "redirect"}
)
_FOREIGN_TEMPLATES = (Path(django.__file__).parent, Path(__file__).parent)


@dataclass(frozen=True)
class FoundView:
    """A view with one of the mixins, at one address; ``as_view`` may have changed what its class says."""

    view_class: type[PusherMixin]
    initkwargs: dict[str, Any]
    route: str

    def __str__(self) -> str:
        return f"{self.view_class.__module__}.{self.view_class.__qualname__} at {self.route}"

    def read(self, name: str) -> Any:
        """An attribute of the view; ``None`` where it has none of that name."""
        return self.initkwargs.get(name, getattr(self.view_class, name, None))

    def overrides(self, *names: str) -> bool:
        """Whether the project has written one of these methods of the mixin itself."""
        return any(getattr(self.view_class, name) is not getattr(PusherMixin, name) for name in names)

    @property
    def kind(self) -> ChannelKind:
        """The kind of its object's channel; raises ``InvalidChannel`` and ``SettingsError``."""
        private = self.read("pusher_private")
        return settings.private_channels if private is None else kind_for(private)

    @property
    def model(self) -> type[Model] | None:
        """The model that it is about, as far as it says so without being run."""
        model = self.read("model") or getattr(self.read("queryset"), "model", None)
        return model if isinstance(model, type) and issubclass(model, Model) else None

    @property
    def publishes_every_field(self) -> bool:
        """Whether nobody has chosen what it publishes."""
        has_events = self.read("pusher_event_name") or self.read("pusher_committed_event_name")
        is_chosen = self.read("pusher_include_model_fields") is not None or self.read("pusher_exclude_model_fields")
        return bool(has_events) and not is_chosen and not self.overrides("get_pusher_object_data")

    @property
    def late_refusals(self) -> list[str]:
        """The project's methods that seem to refuse a visitor where nobody asks them any more."""
        if getattr(self.view_class, "get", None) not in GENERIC_GETS:
            return []
        methods = {name: getattr(self.view_class, name, None) for name in _LATER_METHODS}
        return [name for name, method in methods.items() if not _REFUSING_NAMES.isdisjoint(_names_in(method))]


def find_views() -> list[FoundView]:
    """Every view with one of the mixins in the project's URLconf; what cannot be imported is for other checks."""
    return list(_walk(get_resolver(), "/"))


def has_auth_view() -> bool:
    """Whether the project includes ``pusherable.urls``; so does one whose URLconf cannot be imported."""
    try:
        reverse("pusherable:auth")
    except NoReverseMatch:
        return False
    except Exception:  # noqa: BLE001
        # Django's own checks tell what is wrong with it.
        return True
    return True


def find_private_tags() -> list[str]:
    """The project's templates that need the auth view, each with the tag that does."""
    return sorted(f"{path}: {{% {tag} %}}" for directory in _template_directories() for path, tag in _scan(directory))


def _names_in(method: Any) -> tuple[str, ...]:
    return getattr(getattr(method, "__code__", None), "co_names", ())


def _walk(resolver: URLResolver, route: str) -> Iterator[FoundView]:
    try:
        patterns = list(resolver.url_patterns)
    except Exception:  # noqa: BLE001
        # Django's own checks tell what is wrong with it.
        return
    for pattern in patterns:
        below = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, below)
            continue
        view_class = getattr(pattern.callback, "view_class", None)
        if isinstance(view_class, type) and issubclass(view_class, PusherMixin):
            yield FoundView(view_class, getattr(pattern.callback, "view_initkwargs", {}), below)


def _template_directories() -> set[Path]:
    try:
        loaders = [loader for engine in engines.all() for loader in _loaders_of(engine)]
    except (ImportError, ImproperlyConfigured):
        return set()
    directories = {Path(directory) for loader in loaders for directory in getattr(loader, "get_dirs", tuple)()}
    return {path for path in directories if not any(path.is_relative_to(foreign) for foreign in _FOREIGN_TEMPLATES)}


def _loaders_of(engine: Any) -> Iterable[Any]:
    if not isinstance(engine, DjangoTemplates):
        return ()
    loaders: list[Any] = list(engine.engine.template_loaders)
    return [inner for loader in loaders for inner in getattr(loader, "loaders", [loader])]


def _scan(directory: Path) -> Iterator[tuple[Path, str]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            try:
                text = path.read_text("utf-8", errors="ignore")
            except OSError:
                continue
            found = _PRIVATE_TAG.search(text)
            if found:
                yield path, found[1] or found[2]
