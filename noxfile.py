"""The tests on each supported pair of Python and Django: ``nox``, or ``nox --python 3.12`` for one.

Neither the browser, nor PostgreSQL, nor the builds, nor services in trouble, nor what runs a second time against two
processes: those do not differ from pair to pair, and ``runtests.py`` covers them.
"""

import re
from pathlib import Path

import nox

PAIRS = (("3.11", "5.2"), ("3.12", "6.0"), ("3.13", "6.1"))

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


def read_requirements() -> list[str]:
    """What the tests need besides the package itself and a browser."""
    lines = Path("requirements-test.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"(?!playwright)[a-z]", line)]


@nox.session
@nox.parametrize("python,django", PAIRS)
def tests(session: nox.Session, django: str) -> None:
    session.install("-e", ".[server,redis,metrics]", f"django~={django}.0", *read_requirements())
    session.run("python", "-m", "django", "--version")
    without_browser = ("--ignore=tests/browser", "--ignore=tests/clients/test_chromium.py")
    marked = "not packaging and not chaos and not postgresql and not two_processes"
    session.run("pytest", *without_browser, "-m", marked, *session.posargs)
