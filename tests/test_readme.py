"""The README's code, put together as a reader would, and the usage of the first django-pusherable: both have to work.

Each is a project of its own in a process of its own, and says by JSON what came of some requests.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.rst import ROOT, code_blocks, split

README = (ROOT / "README.rst").read_text("utf-8")

SETTINGS = """
SECRET_KEY = "a secret of one test"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "blog.urls"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
# What stands for the rest of a project's list is left out.
INSTALLED_APPS = [name for name in INSTALLED_APPS if name is not ...] + [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "blog",
]
PUSHERABLE_BACKEND = "locmem"
"""

IMPORTS = """
from django.views.generic import DeleteView, DetailView, UpdateView
from blog.models import Post
"""

URLS = """
from django.urls import path
from blog import views

urlpatterns = [
    path(f"{name}/<int:pk>/", getattr(views, view).as_view())
    for name, view in [("detail", "PostDetail"), ("update", "PostUpdate"), ("delete", "PostDelete")]
    if hasattr(views, view)
]
"""

# Called with the requests to make; each result holds what that request published.
DRIVER = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client
from blog.models import Post
from pusherable.testing import outbox

call_command("migrate", run_syncdb=True, verbosity=0)
admin = User.objects.create(username="admin")
Post.sample().save()
results = []
for who, method, path, data in json.loads(sys.argv[1]):
    client = Client()
    if who == "admin":
        client.force_login(admin)
    response = getattr(client, method)(path, data)
    events = [[list(event.channels), event.name, event.payload] for event in outbox]
    outbox.clear()
    results.append({"status": response.status_code, "text": response.text, "events": events})
print(json.dumps({"checks": [message.id for message in run_checks()], "results": results}))
"""


class Project:
    """A project in a folder of its own; ``files`` are its texts by their paths in the app ``blog``."""

    def __init__(self, folder, *, settings, models, views, templates):
        self._folder = folder
        files = {
            "settings.py": settings + SETTINGS,
            "drive.py": DRIVER,
            "blog/__init__.py": "",
            "blog/models.py": models,
            "blog/views.py": IMPORTS + views,
            "blog/urls.py": URLS,
        } | {f"blog/templates/blog/{name}": text for name, text in templates.items()}
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")

    def request(self, *requests):
        """The ids of failed system checks, and what each of ``requests`` was answered and published."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PUSHER")}
        environment |= {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{self._folder}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-W", "error", "drive.py", json.dumps(requests)],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        return answer["checks"], answer["results"]


def origin_in(page):
    return re.search(r'<meta name="pusherable-origin" content="([^"]+)">', page)[1]


def subscriptions_in(page):
    return re.findall(r'<pusherable-subscribe event="([^"]+)" channel="([^"]+)"', page)


def config_in(page):
    return json.loads(re.search(r'data-config="([^"]+)"', page)[1].replace("&quot;", '"'))


README_MODELS = """
from django.db import models

class Post(models.Model):
    title = models.CharField(max_length=200)
    body = models.TextField()
    pub_date = models.DateTimeField(null=True)

    @classmethod
    def sample(cls):
        return cls(title="What's up?", body="Not much.")

    def get_absolute_url(self):
        return f"/detail/{self.pk}/"
"""


@pytest.fixture(scope="module")
def readme_answers(tmp_path_factory):
    settings, views = code_blocks(README, "python")
    [template] = code_blocks(README, "html+django")
    project = Project(
        tmp_path_factory.mktemp("readme"),
        settings="DEBUG = True\n" + settings,
        models=README_MODELS,
        views=views,
        templates={"post_detail.html": template, "post_form.html": "{{ form }}"},
    )
    checks, results = project.request(
        ("admin", "get", "/detail/1/", None),
        ("admin", "get", "/update/1/", None),
        ("admin", "post", "/update/1/", {"title": "New", "body": "More."}),
    )
    assert checks == []
    return results


@pytest.fixture(scope="module")
def promised():
    [text] = code_blocks(README, "json")
    return json.loads(text)


class TestReadme:
    def test_opened_page_publishes_view(self, readme_answers, promised):
        opened = readme_answers[0]
        [[channels, name, payload]] = opened["events"]
        assert (opened["status"], channels, name) == (200, ["post_1"], "view")
        assert payload == promised | {"origin": origin_in(opened["text"])}

    def test_opened_form_publishes_update_with_the_payload_shown(self, readme_answers, promised):
        [[channels, name, payload]] = readme_answers[1]["events"]
        assert (channels, name) == (["post_1"], "update")
        assert payload == promised | {"origin": payload["origin"]}

    def test_saved_form_publishes_updated(self, readme_answers):
        [[channels, name, payload]] = readme_answers[2]["events"]
        assert (readme_answers[2]["status"], channels, name) == (302, ["post_1"], "updated")
        assert payload["object"] == {"id": 1, "title": "New", "body": "More."}

    def test_tags_render(self, readme_answers):
        page = readme_answers[0]["text"]
        assert subscriptions_in(page) == [("view", "post_1"), ("update", "post_1")]
        assert "<pusherable-notifications" in page
        assert config_in(page) == {
            "key": "pusherable-local",
            "cluster": "local",
            "wsHost": None,
            "wsPort": 8001,
            "wssPort": 8001,
            "forceTLS": None,
        }

    def test_its_json_is_what_a_page_gets(self, promised):
        assert promised.keys() == {"object", "user", "model", "pk", "origin"}

    def test_files_that_it_names_are_there(self):
        named = re.findall(r"``((?:docs|example_project)/[\w./]*|[A-Z]+\.rst)``", README)
        named += [block.argument for block in split(README)[0] if block.directive == "image"]
        named += re.findall(r"(?:python|-r) ([\w./-]+)", "\n".join(code_blocks(README, "console")))
        assert len(named) >= 5
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_is_short(self):
        """Two to six hundred words of prose; code blocks and the image are not counted."""
        words = re.findall(r"\w[\w'./-]*", split(README)[1])
        assert 200 <= len(words) <= 600


ORIGINAL_SETTINGS = """
INSTALLED_APPS = ["pusherable"]
PUSHER_APP_ID = u"{app_id}"
PUSHER_KEY = u"{key}"
PUSHER_SECRET = u"{secret}"
PUSHER_CLUSTER = u"{cluster}"
USE_TZ = False
DEBUG = {debug}
"""

ORIGINAL_MODELS = """
from datetime import datetime
from django.db import models

class Post(models.Model):
    question = models.CharField(max_length=200)
    pub_date = models.DateTimeField()

    @classmethod
    def sample(cls):
        return cls(question="What's up?", pub_date=datetime(2013, 8, 8, 11, 16, 24))

    def get_absolute_url(self):
        return f"/detail/{self.pk}/"
"""

# Its views of one post, and of its deletion, tell everybody all of its fields.
EXPOSED = ["pusherable.W001"] * 2

ORIGINAL_VIEWS = """
from django.forms import ModelForm
from pusherable.mixins import PusherDeleteMixin, PusherDetailMixin, PusherUpdateMixin

class PostUpdateForm(ModelForm):
    class Meta:
        model = Post
        fields = ["question"]

class PostDetail(PusherDetailMixin, DetailView):
    model = Post

class PostUpdate(PusherUpdateMixin, UpdateView):
    model = Post
    form_class = PostUpdateForm
    pusher_exclude_model_fields = 'pub_date'

class PostDelete(PusherDeleteMixin, DeleteView):
    model = Post
    success_url = "/"
"""

ORIGINAL_TEMPLATE = """
{% load pusherable_tags %}
<head>{% pusherable_script %}</head>
{% pusherable_subscribe 'update' object %}
{% pusherable_subscribe 'view' object %}
<script>
    function pusherable_notify(event, data) {
        alert(event + " by " + data.user + ": " + data.model);
    }
</script>
"""


def original_project(folder, *, app_id="", key="", secret="", cluster="", debug=False):
    return Project(
        folder,
        settings=ORIGINAL_SETTINGS.format(app_id=app_id, key=key, secret=secret, cluster=cluster, debug=debug),
        models=ORIGINAL_MODELS,
        views=ORIGINAL_VIEWS,
        templates={
            "post_detail.html": ORIGINAL_TEMPLATE,
            "post_form.html": "{{ form }}",
            "post_confirm_delete.html": "Sure?",
        },
    )


@pytest.fixture(scope="module")
def original_answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    project = original_project(folder, app_id="1234", key="a-key", secret="the-secret", cluster="eu")
    checks, results = project.request(
        ("admin", "get", "/detail/1/", None),
        ("admin", "get", "/update/1/", None),
        ("nobody", "get", "/detail/1/", None),
        ("admin", "get", "/delete/1/", None),
    )
    assert checks == EXPOSED
    return results


class TestUsageOfTheFirstVersion:
    def test_accessed_object_is_published_on_its_channel_with_its_user(self, original_answers):
        [[channels, name, payload]] = original_answers[0]["events"]
        assert (channels, name) == (["post_1"], "view")
        assert {key: payload[key] for key in ("object", "user")} == {
            "object": {"question": "What's up?", "pub_date": "2013-08-08T11:16:24", "id": 1},
            "user": "admin",
        }

    def test_model_that_its_example_writes_is_there(self, original_answers):
        assert original_answers[0]["events"][0][2]["model"] == "post"

    def test_opened_form_publishes_update_without_the_excluded_field(self, original_answers):
        [[channels, name, payload]] = original_answers[1]["events"]
        assert (channels, name) == (["post_1"], "update")
        assert payload["object"] == {"question": "What's up?", "id": 1}

    def test_visitor_without_a_name_is_empty(self, original_answers):
        assert original_answers[2]["events"][0][2]["user"] == ""

    def test_opened_deletion_publishes_delete(self, original_answers):
        assert [event[:2] for event in original_answers[3]["events"]] == [[["post_1"], "delete"]]

    def test_tags_render_for_the_configured_cluster_and_without_the_secret(self, original_answers):
        page = original_answers[0]["text"]
        assert subscriptions_in(page) == [("update", "post_1"), ("view", "post_1")]
        assert config_in(page) == {"key": "a-key", "cluster": "eu", "forceTLS": True}
        assert "the-secret" not in page
        assert "function pusherable_notify(event, data) {" in page

    def test_credentials_left_empty_are_the_local_server_under_debug(self, tmp_path):
        checks, [opened] = original_project(tmp_path, debug=True).request(("admin", "get", "/detail/1/", None))
        assert (checks, opened["status"]) == (EXPOSED, 200)
        assert config_in(opened["text"])["key"] == "pusherable-local"

    def test_credentials_left_empty_outside_debug_are_an_error_of_the_checks_but_of_no_page(self, tmp_path):
        checks, [opened] = original_project(tmp_path).request(("admin", "get", "/detail/1/", None))
        assert (sorted(checks), opened["status"]) == (["pusherable.E001", *EXPOSED], 200)
