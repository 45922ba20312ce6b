"""The documentation names everything that there is, and nothing that there is not."""

import ast
import re
from dataclasses import asdict

import pytest

from pusherable import checks, client, conf, failures, mixins
from pusherable.backends import _SHORT_NAMES
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.management.commands.runpushserver import Command
from pusherable.server.config import Limits
from tests.rst import DOCS, ROOT, code_blocks

PACKAGE = ROOT / "pusherable"
PAGES = sorted(DOCS.glob("*.rst"))
VARIABLES = {value for name, value in vars(conf).items() if name.endswith("_VARIABLE")}
NAME = re.compile(r"PUSHER(?:ABLE)?_[A-Z_]*[A-Z]")


def read(page):
    return (DOCS / page).read_text("utf-8")


def strings_in(source):
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def source_of(module):
    return (PACKAGE / module).read_text("utf-8")


def settings_read():
    return {text for text in strings_in(source_of("conf.py")) if NAME.fullmatch(text)}


def public_members(view_mixin):
    """What a project may override or call; Django's own hooks are Django's to document."""
    django_own = {"setup", "dispatch"}
    return {name for name in vars(view_mixin) if not name.startswith("_")} - django_own


def statements_in(text):
    """The numbers of statements in a text; ``A.3.20`` is A.20 by its part of the section, ``A.2 to A.4`` are three."""
    found = {f"{section}.{number}" for section, number in re.findall(r"\b([A-G])\.(?:\d+\.)?(\d+)\b", text)}
    for section, first, last in re.findall(r"\b([A-G])\.(\d+) to \1\.(\d+)\b", text):
        found |= {f"{section}.{number}" for number in range(int(first), int(last))}
    return found


def statements_cited(*folders):
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name != "test_docs.py"]
    return set().union(*(statements_in(path.read_text("utf-8")) for path in files))


class TestSettingsPage:
    def test_every_setting_has_a_section(self):
        sections = set(re.findall(r"^``(\w+)``\n~+$", read("settings.rst"), re.MULTILINE))
        assert sections == settings_read() - VARIABLES

    def test_every_environment_variable_is_named(self):
        variables = read("settings.rst").partition("Environment variables\n----")[2]
        assert [name for name in ("PUSHER_URL", *VARIABLES) if f"``{name}``" not in variables] == []

    def test_defaults_are_those_of_the_code(self):
        page = read("settings.rst")
        assert f"``{conf.LOCAL_SERVER_DEFAULT}``" in page
        assert f"Default: ``{conf.settings.json_encoder.__module__}.{conf.settings.json_encoder.__name__}``" in page

    def test_every_limit_of_the_server_is_told_with_its_default(self):
        rows = dict(re.findall(r"^``([a-z_]+)``  +([0-9,]+|open files)  ", read("settings.rst"), re.MULTILINE))
        defaults = {
            name: "open files" if value is None else f"{value:,.0f}" for name, value in asdict(Limits()).items()
        }
        assert rows == defaults

    def test_every_system_check_is_named(self):
        ids = {text for text in strings_in(source_of("checks.py")) if re.fullmatch(r"pusherable\.[EW]\d+", text)}
        assert len(ids) >= len([name for name in vars(checks) if name.startswith("check_")])
        assert set(re.findall(r"``(pusherable\.[EW]\d+)``", read("settings.rst"))) == ids

    @pytest.mark.parametrize("page", [page.name for page in PAGES if page.name != "migrating.rst"])
    def test_no_page_names_a_setting_that_is_not_read(self, page):
        # Migrating tells of other packages' settings too; `PUSHER_PUBLIC_…` stands for several.
        assert set(NAME.findall(read(page))) - settings_read() <= {"PUSHER_PUBLIC"}


class TestViewsPage:
    @pytest.mark.parametrize(
        "view_mixin",
        [
            value
            for value in vars(mixins).values()
            if isinstance(value, type) and issubclass(value, mixins.PusherMixin)
        ],
    )
    def test_every_mixin_and_its_public_members_are_named(self, view_mixin):
        page = read("views.rst")
        assert view_mixin.__name__ in page
        assert [name for name in public_members(view_mixin) if not re.search(rf"``{name}[`(]", page)] == []

    def test_every_event_is_in_the_table(self):
        events = {
            getattr(value, attribute)
            for value in vars(mixins).values()
            if isinstance(value, type) and issubclass(value, mixins.PusherMixin)
            for attribute in ("pusher_event_name", "pusher_committed_event_name")
        }
        assert [event for event in events - {""} if f"``{event}``" not in read("views.rst")] == []


class TestSendingPage:
    def test_every_backend_is_named(self):
        assert [name for name in _SHORT_NAMES if f"\n``{name}``\n" not in read("sending.rst")] == []

    def test_every_reason_of_a_failure_is_explained(self):
        promised = set(re.findall(r"``([a-z-]+)``", client.deliver.__doc__.partition("``reason`` is")[2]))
        given = set(re.findall(r'reason="([a-z-]+)"', "".join(map(source_of, ("client.py", "backends/threaded.py")))))
        refusals = {reason for reason, _ in (*client._REFUSALS.values(), client._IN_TROUBLE, client._NO_SERVICE)}
        reasons = given | refusals
        assert promised == reasons - {"queue-full", "no-thread"}
        assert [reason for reason in reasons if f"\n``{reason}``\n" not in read("sending.rst")] == []

    def test_log_line_is_the_one_that_is_written(self, caplog):
        failures.quiet.reset()
        failures.report_failure(Event(("post_1",), "view", "{}"), DeliveryFailed("", reason="x"), sender=Event)
        failures.quiet.reset()
        assert f"\n    {caplog.messages[0]}http://127.0.0.1:8001 cannot be reached" in read("sending.rst")
        assert failures.QUIET_PERIOD == 60


class TestServerPage:
    def test_every_option_is_explained(self):
        parser = Command().create_parser("manage.py", "runpushserver")
        common = Command.__mro__[1]().create_parser("manage.py", "any")
        of_every_command = {option for action in common._actions for option in action.option_strings}
        own = {option for action in parser._actions for option in action.option_strings} - of_every_command
        assert own
        assert [option for option in own if f"``{option}``" not in read("server.rst")] == []


class TestDesignPage:
    def test_every_module_is_on_the_map(self):
        page = read("design.rst")
        paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
        modules = [path for path in paths if path.name != "__init__.py" and path.parts[0] != "backends"]
        assert len(modules) > 20
        assert [str(path) for path in modules if f"{path.name}``" not in page] == []

    def test_every_module_on_the_map_is_there(self):
        named = re.findall(r"``(?:[a-z_]+/)*(\w+\.py)``", read("design.rst"))
        files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
        assert sorted(set(named) - {path.name for path in files}) == []


class TestProtocolPage:
    def test_every_statement_that_is_cited_is_told(self):
        assert sorted(statements_cited(PACKAGE, ROOT / "tests") - statements_in(read("protocol.rst"))) == []

    def test_every_statement_about_the_server_is_told_and_tested(self):
        # The rest is about clients, and about other servers.
        told = {found for found in statements_in(read("protocol.rst")) if found[0] in "ABC"}
        assert len(told) == 57 + 23 + 9
        assert sorted(told - statements_cited(ROOT / "tests")) == []


class TestPages:
    @pytest.mark.parametrize("page", [page.name for page in PAGES])
    def test_python_in_them_is_python(self, page):
        for code in code_blocks(read(page), "python"):
            compile(code, page, "exec")

    def test_every_page_is_in_the_table_of_contents(self):
        listed = re.findall(r"^   ([a-z-]+)$", read("index.rst"), re.MULTILINE)
        assert sorted([*listed, "index"]) == sorted(page.stem for page in PAGES)
