"""Silence for a while: what is published meanwhile is never sent."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from django.db.models import Model

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: What each ``with`` that is open in this thread or task silences; ``()`` is everything.
_silenced: ContextVar[tuple[tuple[type[Model], ...], ...]] = ContextVar("pusherable_silenced", default=())


class suppress:
    """Publish nothing inside of ``with suppress():``, or nothing about the models that are named.

    Whatever is published in there is lost for good, also where its commit comes later. It counts for this thread or
    task alone, and for what it calls by ``sync_to_async``; a thread that it starts is not silenced. Proxies and
    children of a model are silenced with it. As a decorator it takes plain and async functions.
    """

    def __init__(self, *models: type[Model]) -> None:
        for model in models:
            if not (isinstance(model, type) and issubclass(model, Model)):
                raise TypeError(
                    f"suppress() takes models, not {model!r}: write @suppress() where it is to silence everything."
                )
        self._models = models

    def __enter__(self) -> None:
        _silenced.set((*_silenced.get(), self._models))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _silenced.set(_silenced.get()[:-1])

    def __call__(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def silent(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self:
                return function(*args, **kwargs)

        @wraps(function)
        async def asilent(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
            with self:
                return await cast(Any, function(*args, **kwargs))

        return cast(Callable[Arguments, Result], asilent) if iscoroutinefunction(function) else silent


#: What is silenced here and now, and by how many; nothing at all is the answer that a page waits for.
silences: Callable[[], tuple[tuple[type[Model], ...], ...]] = _silenced.get


def is_suppressed(model: type[Model] | None = None) -> bool:
    """Whether nothing about ``model`` is to be published here and now; without one, nothing at all."""
    silenced = _silenced.get()
    return bool(silenced) and any(not models or _holds(models, model) for models in silenced)


def _holds(models: tuple[type[Model], ...], model: type[Model] | None) -> bool:
    if model is None:
        return False
    concrete: Any = model._meta.concrete_model
    return any(issubclass(concrete, each._meta.concrete_model or each) for each in models)
