"""The walls of the design page as data, and a check that the package keeps them."""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room is a module or package right below pusherable/. In these two levels it imports from those before it only.
PURE_VALUES = ("pusherjs", "exceptions", "channels", "events", "signing")
SENDING = (
    "conf",
    "signals",
    "failures",
    "encryption",
    "diagnosis",
    "transport",
    "client",
    "serialization",
    "backends",
    "thinning",
    "claims",
    "suppression",
    "commits",
    "publishing",
    "planning",
    "bulk",
)
# The faces may use each other, as long as no circle comes of it.
FACES = (
    "admin",
    "apps",
    "authorization",
    "checks",
    "inspecting",
    "management",
    "mixins",
    "presence",
    "probing",
    "publishers",
    "pytest_plugin",
    "refusals",
    "streaming",
    "templatetags",
    "testing",
    "urls",
    "users",
    "views",
    "webhooks",
)
SERVER = "server"
# The door: it knows the rooms, but opens them only when it is asked to.
DOOR = "__init__"

DJANGO_SIDE = (*SENDING, *FACES)
OTHER_PACKAGES = {
    "asgiref": DJANGO_SIDE,
    "django_tasks": ("backends",),
    "certifi": ("transport",),
    "django": DJANGO_SIDE,
    "nacl": ("encryption",),
    "prometheus_client": (SERVER,),
    "pusher": ("client",),
    "pytest": ("pytest_plugin",),
    "redis": (SERVER,),
    "starlette": (SERVER,),
    "urllib3": ("diagnosis", "transport", SERVER),
    "uvicorn": (SERVER,),
    "websockets": (SERVER,),
}
SOLE_IMPORTERS = {
    "hmac": "signing.py",
    "pusher": "client.py",
    "django.conf": "conf.py",
    "redis": "server/redis_log.py",
}

HOLDS_FILES = "pusherjs"
CLOCK_AND_IO = frozenset({"asyncio", "datetime", "io", "logging", "os", "pathlib", "socket", "threading", "time"})
HOMELESS = frozenset({"base", "common", "core", "helper", "helpers", "misc", "util", "utils"})


class Import(NamedTuple):
    line: int
    name: str

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def is_of(self, module: str) -> bool:
        return self.name == module or self.name.startswith(f"{module}.")


def find_faults(sources: Mapping[str, str]) -> list[str]:
    """A line for each broken rule; ``sources`` are texts by their paths below ``pusherable/``."""
    imports = {path: list(find_imports(source, package=package_of(path))) for path, source in sources.items()}
    faults = [fault for path in sources for fault in check_place(path)]
    for path, found in imports.items():
        faults += [
            f"pusherable/{path}:{line}: imports {name}, but {rule}"
            for line, name in found
            for rule in broken_rules(path, Import(line, name))
        ]
    return faults + check_circles(imports)


def package_of(path: str) -> str:
    return ".".join(("pusherable", *PurePosixPath(path).parent.parts))


def find_imports(source: str, *, package: str) -> Iterator[Import]:
    """Every import, wherever it stands, with the name that it brings: ``from a import b`` is ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (Import(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                origin = ".".join([*above, *([module] if module else [])])
                yield from (Import(node.lineno, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(func=ast.Name("import_module" | "__import__"), args=[ast.Constant(str(name)), *_]):
                yield Import(node.lineno, name)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(str(name)), *_]):
                yield Import(node.lineno, name)


def room_of(path: str) -> str:
    return PurePosixPath(path).parts[0].removesuffix(".py")


def check_place(path: str) -> Iterator[str]:
    room = room_of(path)
    if room not in (*PURE_VALUES, *SENDING, *FACES, SERVER, DOOR):
        yield f"pusherable/{path}:1: has no place in the table of tests/test_architecture.py"
    for part in PurePosixPath(path).with_suffix("").parts:
        if part in HOMELESS:
            yield f"pusherable/{path}:1: is called {part}, which says nothing of what it holds"


def broken_rules(path: str, found: Import) -> Iterator[str]:
    room = room_of(path)
    for module, importer in SOLE_IMPORTERS.items():
        if path != importer and is_sole(found, module):
            yield f"{module} belongs to {importer} alone"
    if found.top == "pusherable":
        yield from check_neighbour(room, found)
    elif found.top in sys.stdlib_module_names:
        if room in PURE_VALUES and room != HOLDS_FILES and found.top in CLOCK_AND_IO:
            yield "pure values know neither clock nor I/O"
    elif room not in OTHER_PACKAGES.get(found.top, ()):
        yield f"{found.top} is not for {room}"


def is_sole(found: Import, module: str) -> bool:
    # django.conf has other modules below it, which are nobody's own.
    return found.name in ("django.conf", "django.conf.settings") if module == "django.conf" else found.is_of(module)


def check_neighbour(room: str, found: Import) -> Iterator[str]:
    if found.is_of("pusherable.__version__"):
        return
    neighbour = found.name.removeprefix("pusherable").lstrip(".").partition(".")[0]
    if neighbour not in neighbours_of(room):
        yield f"{room} may import {', '.join(sorted(neighbours_of(room))) or 'nothing'} of the package"


def neighbours_of(room: str) -> set[str]:
    """The rooms that a room may import from; a package may import from itself."""
    if room in PURE_VALUES:
        return set(PURE_VALUES[: PURE_VALUES.index(room)]) - {HOLDS_FILES}
    if room == SERVER:
        return {*PURE_VALUES, SERVER}
    if room in SENDING:
        return {*PURE_VALUES, *SENDING[: SENDING.index(room) + 1]}
    everything = {*PURE_VALUES, *SENDING, *FACES}
    return everything | {SERVER} if room == "management" else everything


def check_circles(imports: Mapping[str, list[Import]]) -> Iterator[str] | list[str]:
    modules = {module_of(path): path for path in imports if path != "__init__.py"}
    graph = {
        module: {other for found in imports[path] for other in modules if other != module and reaches(found, other)}
        for module, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"pusherable/{modules[error.args[1][0]]}:1: a circle of imports, {' <- '.join(error.args[1])}"]
    return []


def module_of(path: str) -> str:
    return ".".join(("pusherable", *PurePosixPath(path).with_suffix("").parts)).removesuffix(".__init__")


def reaches(found: Import, module: str) -> bool:
    """Whether the import brings the module itself, or a name that stands in it."""
    return module in (found.name, found.name.rpartition(".")[0])


class TestPackage:
    def test_keeps_its_walls(self):
        files = sorted((ROOT / "pusherable").rglob("*.py"))
        sources = {path.relative_to(ROOT / "pusherable").as_posix(): path.read_text("utf-8") for path in files}
        assert {"__init__.py", "signing.py", "client.py"} <= sources.keys()
        assert "\n".join(find_faults(sources)) == ""

    def test_has_no_folder_of_modules_that_is_no_package(self):
        folders = {path.parent for path in (ROOT / "pusherable").rglob("*.py")}
        assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


FAULTS = [
    ("events.py", "import django.db", "imports django.db, but django is not for events"),
    ("events.py", "import time", "imports time, but pure values know neither clock nor I/O"),
    ("exceptions.py", "import pusherable.channels", "imports pusherable.channels, but exceptions may import nothing"),
    (
        "channels.py",
        "from pusherable.events import Event",
        "imports pusherable.events.Event, but channels may import exceptions of the package",
    ),
    ("channels.py", "from pusherable.pusherjs import PLAIN", "imports pusherable.pusherjs.PLAIN, but channels may"),
    ("pusherjs.py", "from pusherable.exceptions import X", "imports pusherable.exceptions.X, but pusherjs may"),
    ("signals.py", "def f():\n    import pusherable.client", "imports pusherable.client, but signals may import"),
    ("serialization.py", "from pusherable import backends", "imports pusherable.backends, but serialization may"),
    ("client.py", "from pusherable.mixins import X", "imports pusherable.mixins.X, but client may import"),
    ("mixins.py", "from pusherable import publish", "imports pusherable.publish, but mixins may import"),
    ("mixins.py", "import pusherable", "imports pusherable, but mixins may import"),
    ("views.py", "from pusherable.server.hub import Hub", "imports pusherable.server.hub.Hub, but views may import"),
    ("views.py", "import hmac", "imports hmac, but hmac belongs to signing.py alone"),
    ("server/api.py", "from hmac import new", "imports hmac.new, but hmac belongs to signing.py alone"),
    ("server/hub.py", "from django.http import X", "imports django.http.X, but django is not for server"),
    ("server/hub.py", "import pusherable.conf", "imports pusherable.conf, but server may import"),
    ("server/hub.py", "from ..client import X", "imports pusherable.client.X, but server may import"),
    ("server/hub.py", "import tornado", "imports tornado, but tornado is not for server"),
    ("publishing.py", "from pusher import Pusher", "imports pusher.Pusher, but pusher belongs to client.py alone"),
    ("publishing.py", "import_module('pusher')", "imports pusher, but pusher belongs to client.py alone"),
    ("publishing.py", "importlib.import_module('pusher.errors')", "imports pusher.errors, but pusher belongs to"),
    ("views.py", "from django.conf import settings", "imports django.conf.settings, but django.conf belongs to conf"),
    ("views.py", "from django import conf", "imports django.conf, but django.conf belongs to conf.py alone"),
    ("views.py", "import websockets", "imports websockets, but websockets is not for views"),
    ("pushers.py", "", "has no place in the table of tests/test_architecture.py"),
    ("backends/base.py", "", "is called base, which says nothing of what it holds"),
    ("server/utils/names.py", "", "is called utils, which says nothing of what it holds"),
]

BLAMELESS = [
    ("__init__.py", "def __getattr__(name):\n    from pusherable.client import get_client"),
    ("backends/threaded.py", "from pusherable.backends import BaseBackend"),
    ("backends/threaded.py", "from . import BaseBackend"),
    ("client.py", "def f():\n    import pusher"),
    ("conf.py", "from django.conf import settings"),
    ("events.py", "import json, re\nfrom pusherable.channels import kind_of"),
    ("management/commands/runpushserver.py", "from pusherable.server.listener import serve"),
    ("publishing.py", "import time\nfrom pusherable import __version__, client"),
    ("pusherjs.py", "from pathlib import Path"),
    ("server/hub.py", "from pusherable.signing import verify\nfrom .facts import Fact"),
    ("signing.py", "import hmac"),
    ("urls.py", "from django.conf.urls.static import static\nfrom pusherable import views"),
]


class TestFindFaults:
    @pytest.mark.parametrize(("path", "source", "fault"), FAULTS)
    def test_forbidden_names_file_line_and_rule(self, path, source, fault):
        [*faults] = find_faults({path: source})
        line = max(1, len(source.splitlines()))
        assert any(found.startswith(f"pusherable/{path}:{line}: {fault}") for found in faults), faults

    @pytest.mark.parametrize(("path", "source"), BLAMELESS)
    def test_allowed_has_no_fault(self, path, source):
        assert find_faults({path: source}) == []

    def test_circle_is_a_fault(self):
        sources = {
            "mixins.py": "from pusherable.views import View",
            "views.py": "def f():\n    from pusherable import mixins",
        }
        assert find_faults(sources) == [
            "pusherable/mixins.py:1: a circle of imports, pusherable.mixins <- pusherable.views <- pusherable.mixins"
        ]
