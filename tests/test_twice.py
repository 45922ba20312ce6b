import ast
from pathlib import Path

import pytest

from tests.twice import EXEMPT, TWO_PROCESSES, WITH_A_TWIN

TESTS = Path(__file__).parent


def names_of_tests():
    """Every test of a class, as ``Class::test``, and without its class, for it may be inherited."""
    for file in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                yield from names
                yield from (f"{node.name}::{name}" for name in names)


class TestExempt:
    def test_all_that_is_exempt_is_there(self):
        assert EXEMPT.keys() <= set(names_of_tests())

    @pytest.mark.parametrize("name", EXEMPT)
    def test_it_runs_once(self, request, name):
        runs = [item.nodeid for item in request.session.items if f"::{name}[" in item.nodeid]
        assert not [run for run in runs if TWO_PROCESSES in run or WITH_A_TWIN in run]
