"""What a newspaper is made of."""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.text import normalize_newlines


class Tag(models.Model):
    """A word that a post is filed under."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class PostQuerySet(models.QuerySet):
    """Posts, by who may see them."""

    def visible_to(self, user: Any) -> Self:
        """What is printed, for everybody; drafts for those who wrote them, and for the staff."""
        if not user.is_authenticated:
            return self.filter(is_draft=False)
        return self if user.is_staff else self.filter(models.Q(is_draft=False) | models.Q(author=user))


class Post(models.Model):
    """One piece of news, short enough for an event to carry it whole."""

    class Colour(models.TextChoices):
        BRICK = "brick"
        OCHRE = "ochre"
        MOSS = "moss"
        TEAL = "teal"
        INK = "ink"
        PLUM = "plum"

    title = models.CharField(max_length=120)
    # An event holds 10 KiB at most.
    body = models.TextField(max_length=2000, help_text="An empty line begins a new paragraph.")
    colour = models.CharField("cover colour", max_length=10, choices=Colour.choices, default=Colour.INK)
    tags = models.ManyToManyField(Tag, blank=True, related_name="posts")
    is_draft = models.BooleanField(
        "keep it a draft", default=False, help_text="Nobody but you and the editors will see it, nor hear of it."
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="posts", editable=False
    )
    published = models.DateTimeField(default=timezone.now, editable=False)
    # Counts the saves, so that a form knows whether it was filled from the newest one.
    version = models.PositiveIntegerField(default=1, editable=False)

    objects = PostQuerySet.as_manager()

    class Meta:
        ordering = ("-published", "-pk")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("post-detail", args=[self.pk])

    @property
    def paragraphs(self) -> list[str]:
        """The body in parts, as newsroom.js divides it, too."""
        parts = normalize_newlines(self.body).split("\n\n")
        return [part.strip() for part in parts if part.strip()]
