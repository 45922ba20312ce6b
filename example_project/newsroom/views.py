"""The newsroom's pages: Django's generic views, and one mixin of pusherable on each that others should hear of."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.messages.views import SuccessMessageMixin
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import (
    CreateView,
    DeleteView,
    DetailView,
    ListView,
    TemplateView,
    UpdateView,
)

from newsroom.forms import PostEditForm, PostForm
from newsroom.models import Post, Tag
from pusherable.mixins import (
    PusherCreateMixin,
    PusherDeleteMixin,
    PusherDetailMixin,
    PusherUpdateMixin,
)
from pusherable.publishing import trigger
from pusherable.users import notify

FRONT_PAGE_SIZE = 7
DRAFT_KEPT = "Kept as a draft. Only you and the editors see it, and nobody else hears of it."


class VisiblePostsMixin:
    """Shows each visitor the posts that are theirs to see; whoever may not see one hears nothing of it either."""

    model = Post

    def get_queryset(self) -> QuerySet[Post]:
        posts = super().get_queryset().visible_to(self.request.user)
        return posts.select_related("author").prefetch_related("tags")


class TagNamesMixin:
    """Hands the page the names of all tags: an event holds only their primary keys."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        tag_names = {tag.pk: tag.name for tag in Tag.objects.all()}
        return super().get_context_data(tag_names=tag_names, **kwargs)


class MissingPostMixin:
    """Answers for a post that is gone with a page of the newsroom's own, under ``DEBUG``, too."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return super().dispatch(request, *args, **kwargs)
        except Http404:
            return render(request, "newsroom/post_missing.html", status=404)


class HomeView(VisiblePostsMixin, TagNamesMixin, ListView):
    template_name = "newsroom/home.html"

    def get_queryset(self) -> QuerySet[Post]:
        return super().get_queryset()[:FRONT_PAGE_SIZE]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Browsers keep separate cookies for the two names of this machine: one browser can be two people.
        host, colon, port = self.request.get_host().partition(":")
        twin = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host)
        twin_url = f"{self.request.scheme}://{twin}{colon}{port}/" if twin else None
        return super().get_context_data(twin_url=twin_url, **kwargs)


class PostListView(VisiblePostsMixin, TagNamesMixin, ListView):
    pass


class PostDetailView(MissingPostMixin, PusherDetailMixin, VisiblePostsMixin, TagNamesMixin, DetailView):
    pass


class PostCreateView(LoginRequiredMixin, PusherCreateMixin, SuccessMessageMixin, CreateView):
    model = Post
    form_class = PostForm

    def form_valid(self, form: PostForm) -> HttpResponse:
        form.instance.author = self.request.user
        return super().form_valid(form)

    def should_publish(self, event: str) -> bool:
        # The lists of all readers listen to what is new.
        return not self.object.is_draft and super().should_publish(event)

    def get_success_message(self, cleaned_data: dict[str, Any]) -> str:
        return DRAFT_KEPT if self.object.is_draft else "Published. Every open list has it by now."


# The version is compared and counted up in one transaction, or two savers might both be told yes.
@method_decorator(transaction.atomic, name="post")
class PostUpdateView(
    LoginRequiredMixin, MissingPostMixin, PusherUpdateMixin, VisiblePostsMixin, SuccessMessageMixin, UpdateView
):
    form_class = PostEditForm

    def form_valid(self, form: PostEditForm) -> HttpResponse:
        response = super().form_valid(form)
        if "is_draft" in form.changed_data:
            # To all but its author a draft that is printed is a new post.
            self.object.published = timezone.now()
            self.object.save(update_fields=["published"])
            self.publish("created")
        elif self.object.author != self.request.user:
            self.tell_the_author()
        return response

    def tell_the_author(self) -> None:
        """On whichever page the author is: of what others do with one's own post one hears everywhere."""
        name = self.request.user.get_username().capitalize()
        notify(self.object.author, "edited", {"message": f"{name} has worked on your post “{self.object}”."})

    def get_success_message(self, cleaned_data: dict[str, Any]) -> str:
        return DRAFT_KEPT if self.object.is_draft else "Saved. Whoever has this post open sees your words by now."


class PostDeleteView(
    LoginRequiredMixin, MissingPostMixin, PusherDeleteMixin, VisiblePostsMixin, SuccessMessageMixin, DeleteView
):
    success_url = reverse_lazy("home")
    success_message = "Deleted. It has left every open list."


class BellView(TemplateView):
    """A page with a bell, and the place where its ringing is posted to."""

    template_name = "newsroom/bell.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        call = request.POST.get("call", "").strip()[:80]
        who = request.user.get_username().capitalize() or "Someone"
        trigger(
            "private-newsroom",
            "bell",
            {"message": f"{who} rings the bell: {call}" if call else f"{who} rings the bell."},
        )
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            return JsonResponse({"call": call}, status=202)
        return redirect("bell")
