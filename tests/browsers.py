"""Where the browser tests find their browser; ``PUSHERABLE_CHROMIUM`` goes before what is on the PATH."""

import os
import shutil

VARIABLE = "PUSHERABLE_CHROMIUM"
REQUIRED_VARIABLE = "PUSHERABLE_REQUIRE_BROWSER"

CANDIDATES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

HOW_TO_GET_ONE = f"""\
Debian, Ubuntu:  apt-get install chromium libatomic1
Fedora:          dnf install chromium
macOS:           brew install --cask chromium
Elsewhere:       set {VARIABLE} to the path of a Chromium or Chrome."""


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome to run, or ``None``."""
    chosen = os.environ.get(VARIABLE)
    names = (chosen,) if chosen else CANDIDATES
    return next((path for name in names if (path := shutil.which(name))), None)


def is_browser_required() -> bool:
    """Whether a run without a browser has to fail."""
    return os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")


def explain_absence() -> str:
    """Why there is no browser, and how to get one."""
    chosen = os.environ.get(VARIABLE)
    reason = f"{VARIABLE} is {chosen!r}, which is no program." if chosen else "No Chromium was found."
    return f"{reason}\n{HOW_TO_GET_ONE}"
