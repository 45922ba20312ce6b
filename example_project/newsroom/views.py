"""The newsroom's pages: Django's generic views, and one mixin of pusherable on each that others should hear of."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.messages.views import SuccessMessageMixin
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
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

FRONT_PAGE_SIZE = 7


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


class HomeView(TagNamesMixin, ListView):
    queryset = Post.objects.select_related("author").prefetch_related("tags")[:FRONT_PAGE_SIZE]
    template_name = "newsroom/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Browsers keep separate cookies for the two names of this machine: one browser can be two people.
        host, colon, port = self.request.get_host().partition(":")
        twin = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host)
        twin_url = f"{self.request.scheme}://{twin}{colon}{port}/" if twin else None
        return super().get_context_data(twin_url=twin_url, **kwargs)


class PostListView(TagNamesMixin, ListView):
    queryset = Post.objects.select_related("author").prefetch_related("tags")


class PostDetailView(MissingPostMixin, PusherDetailMixin, TagNamesMixin, DetailView):
    queryset = Post.objects.select_related("author").prefetch_related("tags")


class PostCreateView(LoginRequiredMixin, PusherCreateMixin, SuccessMessageMixin, CreateView):
    model = Post
    form_class = PostForm
    success_message = "Published. Every open list has it by now."

    def form_valid(self, form: PostForm) -> HttpResponse:
        form.instance.author = self.request.user
        return super().form_valid(form)


# The version is compared and counted up in one transaction, or two savers might both be told yes.
@method_decorator(transaction.atomic, name="post")
class PostUpdateView(LoginRequiredMixin, MissingPostMixin, PusherUpdateMixin, SuccessMessageMixin, UpdateView):
    model = Post
    form_class = PostEditForm
    success_message = "Saved. Whoever has this post open sees your words by now."


class PostDeleteView(LoginRequiredMixin, MissingPostMixin, PusherDeleteMixin, SuccessMessageMixin, DeleteView):
    model = Post
    success_url = reverse_lazy("home")
    success_message = "Deleted. It has left every open list."


class BellView(TemplateView):
    """A page with a bell, and the place where its ringing is posted to."""

    template_name = "newsroom/bell.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        call = request.POST.get("call", "").strip()[:80]
        who = request.user.get_username().capitalize() or "Someone"
        trigger("newsroom", "bell", {"message": f"{who} rings the bell: {call}" if call else f"{who} rings the bell."})
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            return JsonResponse({"call": call}, status=202)
        return redirect("bell")
