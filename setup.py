"""The package's metadata, and the step of its build that brings pusher-js along (see pusherable/pusherjs.py)."""

import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from setuptools import Command, find_packages, setup
from setuptools.command.build import build
from setuptools.command.sdist import sdist
from setuptools.errors import ExecError

ROOT = Path(__file__).resolve().parent
INIT = (ROOT / "pusherable" / "__init__.py").read_text(encoding="utf-8")


def load_pusherjs() -> ModuleType:
    """The package's pins, read without importing the package: Django is not here while it is built."""
    spec = importlib.util.spec_from_file_location("pusherjs", ROOT / "pusherable" / "pusherjs.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["pusherjs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NotFetched(Exception):
    """npm is not here, or could not bring the package; its text says why."""


class vendor_pusherjs(Command):
    """Put pusher-js among the static files. Without npm or a network the build goes on, and says so."""

    description = "fetch pusher-js with npm, verify it, and put it among the static files"
    user_options: ClassVar[list] = []

    def initialize_options(self) -> None: ...

    finalize_options = initialize_options

    def run(self) -> None:
        pusherjs = load_pusherjs()
        wanted = [asset for asset in pusherjs.ASSETS if not asset.is_intact()]
        if not wanted:
            return
        try:
            archive = fetch(f"pusher-js@{pusherjs.VERSION}")
        except NotFetched as reason:
            go_on_without(wanted, pusherjs.VERSION, reason)
            return
        try:
            contents = [(asset, asset.prepare(read_member(archive, asset.source))) for asset in wanted]
        except pusherjs.WrongDigest as error:
            raise ExecError(f"{error} Nothing was built.") from error
        for asset, content in contents:
            asset.path.parent.mkdir(parents=True, exist_ok=True)
            asset.path.write_bytes(content)


def fetch(package: str) -> bytes:
    """The tarball of an npm package, from whichever registry the user's npm is set to."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotFetched("there is no npm on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", package, "--ignore-scripts", "--fetch-retries=1", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=180)
            return next(Path(folder).glob("*.tgz")).read_bytes()
        except subprocess.CalledProcessError as error:
            complaint = error.stderr.decode(errors="replace").strip()[-500:]
            raise NotFetched(f"npm could not fetch {package}: {complaint}") from error
        except (OSError, StopIteration, subprocess.TimeoutExpired) as error:
            raise NotFetched(f"npm could not fetch {package}: {error!r}") from error


def read_member(archive: bytes, name: str) -> bytes:
    """One file of an npm tarball; empty where it has none, which no digest matches."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(name) if (name := f"package/{name}") in tar.getnames() else None
        return member.read() if member else b""


def go_on_without(assets: list, version: str, reason: NotFetched) -> None:
    """Say that the build lacks ``assets``; raises ``ExecError`` where some are there, but altered."""
    altered = [str(asset.path) for asset in assets if asset.path.exists()]
    if altered:
        rule = "differ from the digests pinned in pusherable/pusherjs.py, and cannot be fetched again"
        raise ExecError(f"{', '.join(altered)} {rule}: {reason}. Delete them, or build where npm works.")
    line = "*" * 78
    print(
        f"{line}\nNOTICE: django-pusherable is built without pusher-js {version}: {reason}.\n"
        "Pages will load it from a public CDN, verified by its digest. To ship it with\n"
        f"your static files, install npm and build again.\n{line}",
        file=sys.stderr,
    )


class build_with_pusherjs(build):
    # A step of its own, since editable installs turn a failing `build_py` into a warning.
    sub_commands: ClassVar[list] = [("vendor_pusherjs", None), *build.sub_commands]


class sdist_with_pusherjs(sdist):
    """An sdist carries pusher-js, so that installing from it takes no npm."""

    def run(self) -> None:
        self.run_command("vendor_pusherjs")
        super().run()


setup(
    name="django-pusherable",
    version=re.findall(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[0],
    description="Tell every open page, at once, who is looking at an object and who is changing it.",
    long_description=(ROOT / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="django-pusherable contributors",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["pusherable", "pusherable.*"]),
    package_data={
        "pusherable": ["py.typed", "templates/**/*", "static/**/*", "locale/**/*"],
        "pusherable.server": ["console/*"],
    },
    install_requires=["Django>=5.2", "pusher>=3.3.3"],
    extras_require={
        "server": ["httptools>=0.6.3", "starlette>=0.46", "uvicorn>=0.34", "websockets>=15.0"],
        "metrics": ["prometheus_client>=0.20"],
        # Those before stumble over connections that Redis has closed since they were idle.
        "redis": ["redis[hiredis]>=5.0.8"],
    },
    entry_points={"pytest11": ["pusherable = pusherable.pytest_plugin"]},
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        *(f"Framework :: Django :: {version}" for version in ("5.2", "6.0", "6.1")),
        *(f"Programming Language :: Python :: {version}" for version in ("3.11", "3.12", "3.13")),
        "Typing :: Typed",
    ],
    cmdclass={"vendor_pusherjs": vendor_pusherjs, "build": build_with_pusherjs, "sdist": sdist_with_pusherjs},
)
