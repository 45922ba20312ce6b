"""The tables of the first day."""

from typing import ClassVar

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Tag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=40, unique=True)),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Post",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=120)),
                ("body", models.TextField(help_text="An empty line begins a new paragraph.", max_length=2000)),
                (
                    "colour",
                    models.CharField(
                        choices=[
                            ("brick", "Brick"),
                            ("ochre", "Ochre"),
                            ("moss", "Moss"),
                            ("teal", "Teal"),
                            ("ink", "Ink"),
                            ("plum", "Plum"),
                        ],
                        default="ink",
                        max_length=10,
                        verbose_name="cover colour",
                    ),
                ),
                ("published", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                (
                    "author",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="posts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("tags", models.ManyToManyField(blank=True, related_name="posts", to="newsroom.tag")),
            ],
            options={
                "ordering": ("-published", "-pk"),
            },
        ),
    ]
