"""What tests make their objects with."""

import factory
from django.contrib.auth.models import User

from tests.testapp.models import Document, Page, Post, Tag


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    password = factory.django.Password("secret")


class TagFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Tag

    label = factory.Sequence(lambda n: f"tag {n}")


class PostFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Post

    title = "What's up?"
    body = "Not much."


class DocumentFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Document

    name = "Charter"


class PageFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Page

    slug = "about-us"
    title = "About us"
