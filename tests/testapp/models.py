"""One model for each thing that is odd about models."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.files.storage import FileSystemStorage
from django.db import models

from pusherable import publishes


class StorageWithoutURLs(FileSystemStorage):
    def url(self, name):
        raise NotImplementedError("This storage has no URLs.")


class Tag(models.Model):
    label = models.CharField(max_length=50)


class Post(models.Model):
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    pub_date = models.DateTimeField(null=True, blank=True)
    author = models.ForeignKey("auth.User", models.SET_NULL, null=True, blank=True)
    tags = models.ManyToManyField(Tag, blank=True)
    notes = models.CharField(max_length=200, editable=False, default="for the desk only")

    def get_absolute_url(self):
        return f"/posts/{self.pk}/"


class FeaturedPost(Post):
    class Meta:
        proxy = True


class Review(Post):
    stars = models.IntegerField(default=3)


class Reading(models.Model):
    """Every type of value."""

    value = models.FloatField(default=1.5)
    price = models.DecimalField(max_digits=6, decimal_places=2, default="9.90")
    lasted = models.DurationField(null=True)
    day = models.DateField(null=True)
    moment = models.TimeField(null=True)
    token = models.UUIDField(null=True)
    extra = models.JSONField(default=dict)
    raw = models.BinaryField(default=b"")
    report = models.FileField(upload_to="reports", blank=True)
    secret_report = models.FileField(upload_to="reports", blank=True, storage=StorageWithoutURLs())


class Document(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=50)


class Page(models.Model):
    slug = models.CharField(max_length=300, primary_key=True)
    title = models.CharField(max_length=50)


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


class Member(AbstractBaseUser):
    """A user whose name is an address."""

    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"


class Elsewhere(models.Model):
    """Kept in the second database by whoever says ``using``."""

    name = models.CharField(max_length=50)


@publishes("created", "updated", "deleted", exclude="secret")
class Article(models.Model):
    """Publishes by itself."""

    title = models.CharField(max_length=50)
    secret = models.CharField(max_length=50, blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="articles")
    readers = models.ManyToManyField("auth.User", through="Reader", related_name="articles")


class Reader(models.Model):
    article = models.ForeignKey(Article, models.CASCADE)
    user = models.ForeignKey("auth.User", models.CASCADE)


class ShortArticle(Article):
    class Meta:
        proxy = True


class Interview(Article):
    """A child that has not asked for anything."""

    guest = models.CharField(max_length=50)


@publishes("created", "deleted", channels=lambda comment, event: [f"comments_{comment.article_id}"])
class Comment(models.Model):
    article = models.ForeignKey(Article, models.CASCADE)
    text = models.CharField(max_length=50)


@publishes("updated", private=True)
class Stamped(models.Model):
    stamp = models.IntegerField(default=0)

    class Meta:
        abstract = True


class Notice(Stamped):
    """Publishes, since the model that it is made of does."""

    text = models.CharField(max_length=50)
