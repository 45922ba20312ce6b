"""Posts that not everybody may see."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("newsroom", "0001_newspaper")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="post",
            name="is_draft",
            field=models.BooleanField(
                default=False,
                help_text="Nobody but you and the editors will see it, nor hear of it.",
                verbose_name="keep it a draft",
            ),
        ),
    ]
