"""Forms in which posts are written."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from newsroom.models import Post


class PostForm(forms.ModelForm):
    """A new post."""

    class Meta:
        model = Post
        fields = ("title", "body", "tags", "colour", "is_draft")
        widgets: ClassVar = {
            "body": forms.Textarea(attrs={"rows": 12}),
            "tags": forms.CheckboxSelectMultiple,
            "colour": forms.RadioSelect,
        }


class PostEditForm(PostForm):
    """A post that is there already; refuses to overwrite in silence what others saved meanwhile."""

    #: The version that the form was filled from, and the newer one that the writer agrees to lose.
    version = forms.IntegerField(widget=forms.HiddenInput)
    overwrite = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.is_draft:
            # What is printed is printed: its readers listen already.
            del self.fields["is_draft"]
        self.initial["version"] = self.instance.version
        #: The post as others have saved it, once ``clean`` has found it to be newer than this form.
        self.newer: Post | None = None

    def clean(self) -> dict[str, Any]:
        super().clean()
        saved = self.instance.version
        if saved not in (self.cleaned_data.get("version"), self.cleaned_data.get("overwrite")):
            self.newer = Post.objects.get(pk=self.instance.pk)
            message = "Someone has saved a newer version while you were writing. Yours is not saved yet."
            raise ValidationError(message, code="outdated")
        return self.cleaned_data

    def save(self, commit: bool = True) -> Post:
        self.instance.version += 1
        return super().save(commit)
