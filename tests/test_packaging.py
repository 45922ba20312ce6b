"""What is built from a clean copy of the checkout, with the real pip, and for the last part with the real npm."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import django
import pytest

from pusherable.pusherjs import ASSETS, LICENCE, PLAIN, VERSION, digest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parent.parent

# What the fake npm brings: the pins of the copied tree are set to these.
PUBLISHED = {asset: f"/* {asset.name} */\n".encode() for asset in ASSETS} | {
    PLAIN: b"var Pusher;\n//# sourceMappingURL=pusher.min.js.map"
}
SHIPPED = {**PUBLISHED, PLAIN: b"var Pusher;\n"}

NPM_NOTICE = f"NOTICE: django-pusherable is built without pusher-js {VERSION}: there is no npm on the PATH."


def list_files(*paths):
    git = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z", *paths]
    try:
        listing = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: what belongs to the tree cannot be told")
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def run(*command, cwd, path, check=True):
    """Run a command with ``path`` as its PATH; standard output and error are one text."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": str(path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0 or not check, done.stdout
    return done


def copy_tree(target):
    for name in list_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target


@pytest.fixture
def tree(tmp_path):
    return copy_tree(tmp_path / "tree")


@pytest.fixture
def no_npm(tmp_path):
    """A PATH on which nothing is found."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


class FakeNpm:
    """A program named npm that packs the given files, and keeps what it was called with."""

    def __init__(self, folder):
        folder.mkdir()
        self.path = folder
        self._calls = folder / "calls"
        self._program = folder / "npm"

    def bring(self, contents):
        archive = self.path / "archive"
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in contents.items():
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        self._write(f"shutil.copy({str(archive)!r}, sys.argv[-1] + '/pusher-js.tgz')")

    def fail(self, complaint):
        self._write(f"sys.exit({complaint!r})")

    def do_nothing(self):
        self._write("")

    @property
    def calls(self):
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def _write(self, action):
        note = f"open({str(self._calls)!r}, 'a').write(' '.join(sys.argv[1:-1]) + '\\n')"
        self._program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{note}\n{action}\n")
        self._program.chmod(0o755)


@pytest.fixture
def npm(tmp_path):
    npm = FakeNpm(tmp_path / "npm")
    npm.bring({asset.source: content for asset, content in PUBLISHED.items()})
    return npm


@pytest.fixture
def pinned_tree(tree):
    """A tree whose pins are the digests of what the fake npm brings."""
    pins = tree / "pusherable/pusherjs.py"
    text = pins.read_text()
    for asset in ASSETS:
        text = text.replace(asset.published, digest(PUBLISHED[asset])).replace(asset.shipped, digest(SHIPPED[asset]))
    pins.write_text(text)
    return tree


def vendor(tree, path, *, check=True):
    return run(sys.executable, "setup.py", "vendor_pusherjs", cwd=tree, path=path, check=check)


def vendored(tree):
    folder = tree / "pusherable/static/pusherable/vendor"
    return {path.name: path.read_bytes() for path in folder.glob("*")}


ALL_SHIPPED = {asset.name: content for asset, content in SHIPPED.items()}


class TestVendorPusherjs:
    def test_fetched_by_npm_is_stripped_and_stored(self, pinned_tree, npm):
        vendor(pinned_tree, npm.path)
        assert vendored(pinned_tree) == ALL_SHIPPED
        assert npm.calls == [f"pack pusher-js@{VERSION} --ignore-scripts --fetch-retries=1 --pack-destination"]

    def test_intact_is_not_fetched_again(self, pinned_tree, npm):
        vendor(pinned_tree, npm.path)
        vendor(pinned_tree, npm.path)
        assert len(npm.calls) == 1

    def test_altered_is_fetched_again(self, pinned_tree, npm):
        vendor(pinned_tree, npm.path)
        (pinned_tree / "pusherable/static/pusherable/vendor/pusher.min.js").write_text("alert(1)")
        vendor(pinned_tree, npm.path)
        assert vendored(pinned_tree) == ALL_SHIPPED

    def test_altered_without_npm_stops_the_build(self, pinned_tree, npm, no_npm):
        vendor(pinned_tree, npm.path)
        altered = pinned_tree / "pusherable/static/pusherable/vendor/pusher.min.js"
        altered.write_text("alert(1)")
        done = vendor(pinned_tree, no_npm, check=False)
        assert done.returncode != 0
        assert done.stdout.splitlines()[-1] == (
            f"error: {altered} differ from the digests pinned in pusherable/pusherjs.py, and cannot be fetched "
            "again: there is no npm on the PATH. Delete them, or build where npm works."
        )

    def test_wrong_digest_stops_the_build_and_stores_nothing(self, tree, npm):
        done = vendor(tree, npm.path, check=False)
        assert done.returncode != 0
        assert done.stdout.splitlines()[-1] == (
            f"error: pusher-js {VERSION}: dist/web/pusher.min.js as published has the digest "
            f"{digest(PUBLISHED[PLAIN])}, but {PLAIN.published} is pinned in pusherable/pusherjs.py. "
            "Nothing was built."
        )
        assert vendored(tree) == {}

    def test_archive_without_a_file_stops_the_build(self, pinned_tree, npm):
        npm.bring({asset.source: PUBLISHED[asset] for asset in ASSETS if asset is not LICENCE})
        done = vendor(pinned_tree, npm.path, check=False)
        assert done.returncode != 0
        assert f"LICENCE as published has the digest {digest(b'')}" in done.stdout
        assert vendored(pinned_tree) == {}

    def test_without_npm_goes_on_with_a_notice(self, tree, no_npm):
        assert NPM_NOTICE in vendor(tree, no_npm).stdout.splitlines()
        assert vendored(tree) == {}

    def test_npm_that_fails_goes_on_with_its_words(self, tree, npm):
        npm.fail("npm error network: unreachable")
        assert (
            f"without pusher-js {VERSION}: npm could not fetch pusher-js@{VERSION}: npm error network: unreachable."
        ) in vendor(tree, npm.path).stdout

    def test_npm_that_brings_nothing_goes_on_with_a_notice(self, tree, npm):
        npm.do_nothing()
        assert f"npm could not fetch pusher-js@{VERSION}: StopIteration()." in vendor(tree, npm.path).stdout

    def test_wrong_digest_stops_an_editable_install(self, tree, npm):
        command = [sys.executable, "setup.py", "editable_wheel", "--dist-dir", "dist"]
        done = run(*command, cwd=tree, path=npm.path, check=False)
        assert done.returncode != 0
        assert "Nothing was built." in done.stdout


def build_wheel(source, target, *, path, isolated=False):
    """Build a wheel with pip; returns its path and what pip printed."""
    isolation = [] if isolated else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "-v", "-w", target, *isolation]
    done = run(*command, cwd=target.parent, path=path)
    [wheel] = target.glob("*.whl")
    return wheel, done.stdout


def content_of(wheel):
    """The names in a wheel, its own records left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def package_files():
    return set(list_files("pusherable"))


def vendored_files():
    return {f"pusherable/static/{asset.static_path}" for asset in ASSETS}


CHECK_INSTALLED = """
import json, sys
from pathlib import Path
import django
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.template.loader import get_template
from pusherable import pusherjs

folder = Path(sys.argv[1])
settings.configure(
    SECRET_KEY="x",
    DEBUG=False,
    INSTALLED_APPS=["django.contrib.staticfiles", "pusherable"],
    STATIC_URL="/static/",
    STATIC_ROOT=folder / "collected",
    STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
django.setup()
call_command("collectstatic", interactive=False, verbosity=0)
plain = staticfiles_storage.stored_name(pusherjs.PLAIN.static_path)
print(json.dumps({
    "package": str(Path(pusherjs.__file__).parent),
    "intact": [asset.is_intact() for asset in pusherjs.ASSETS],
    "found": bool(finders.find("pusherable/pusherable.js")),
    "template": get_template("pusherable/script.html").template.name,
    "collected": pusherjs.digest((folder / "collected" / plain).read_bytes()),
}))
"""


@pytest.fixture(scope="module")
def real_path():
    if shutil.which("npm") is None:
        pytest.skip("npm, which fetches pusher-js, is not here")
    return os.environ["PATH"]


@pytest.fixture(scope="module")
def wheel(real_path, tmp_path_factory):
    """The wheel as ``pip install .`` makes it, with its own environment to build in."""
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(copy_tree(folder / "tree"), folder / "dist", path=real_path, isolated=True)[0]


@pytest.fixture(scope="module")
def sdist(real_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    tree = copy_tree(folder / "tree")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", cwd=tree, path=real_path)
    [sdist] = (tree / "dist").glob("*.tar.gz")
    return sdist


def make_environment(folder):
    """A fresh environment that borrows this one's Django instead of fetching it again."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent, path=os.environ["PATH"])
    [own_packages] = folder.rglob("site-packages")
    (own_packages / "borrowed.pth").write_text(str(Path(django.__file__).parent.parent))
    return folder / "bin" / "python"


class TestDistributions:
    def test_wheel_holds_the_package_and_pusherjs_and_nothing_else(self, wheel):
        names = content_of(wheel)
        assert names == package_files() | vendored_files()
        assert {"pusherable/py.typed", "pusherable/static/pusherable/pusherable.js"} <= names
        assert any(name.startswith("pusherable/templates/") for name in names)

    def test_wheel_holds_pusherjs_with_the_pinned_digests(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            digests = [digest(archive.read(f"pusherable/static/{asset.static_path}")) for asset in ASSETS]
        assert digests == [asset.shipped for asset in ASSETS]

    def test_sdist_holds_the_tests_and_what_they_need(self, sdist):
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert {*list_files("tests", "docs", "example_project"), *vendored_files()} <= names
        assert {"LICENSE", "README.rst", "pyproject.toml", "requirements-test.txt", "runtests.py", "setup.py"} <= names

    def test_wheel_from_sdist_needs_no_npm(self, sdist, no_npm, tmp_path):
        wheel, output = build_wheel(sdist, tmp_path / "dist", path=no_npm)
        assert content_of(wheel) == package_files() | vendored_files()
        assert "NOTICE" not in output

    def test_wheel_without_npm_lacks_pusherjs_and_says_so(self, tree, no_npm, tmp_path):
        wheel, output = build_wheel(tree, tmp_path / "dist", path=no_npm)
        assert content_of(wheel) == package_files()
        assert NPM_NOTICE in [line.strip() for line in output.splitlines()]

    def test_wheel_in_a_fresh_environment_works(self, wheel, tmp_path):
        python = make_environment(tmp_path / "venv")
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=tmp_path, path="")
        done = run(python, "-W", "error", "-c", CHECK_INSTALLED, tmp_path, cwd=tmp_path, path="")
        [package] = (tmp_path / "venv").rglob("site-packages/pusherable")
        assert json.loads(done.stdout) == {
            "package": str(package),
            "intact": [True, True, True],
            "found": True,
            "template": "pusherable/script.html",
            "collected": PLAIN.shipped,
        }
