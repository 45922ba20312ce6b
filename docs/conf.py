"""How Sphinx builds the documentation: ``sphinx-build -W docs docs/_build``."""

import os
import sys
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Modules of a Django app can only be imported, and their docstrings read, within a project.
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from pusherable import __version__  # noqa: E402

project = "django-pusherable"
author = "django-pusherable contributors"
project_copyright = author
release = version = __version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"django-pusherable {release}"
