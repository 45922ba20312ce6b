"""What is said of transactions, once more on PostgreSQL: in a process of its own, with other settings."""

import os
import subprocess
import sys

import pytest

from tests.clusters import running_cluster
from tests.rst import ROOT

TESTS = (
    "tests/test_commits.py::TestSend",
    "tests/test_commits.py::TestSendToAQueueInTheDatabase",
    "tests/test_publishing.py::TestAfterTheCommit::test_rollback_sends_nothing",
    "tests/test_publishing.py::TestAfterTheCommit::test_rollback_of_a_savepoint_sends_nothing",
    "tests/test_bulk.py::TestPublishMany::test_commit_is_awaited_and_a_rollback_stops_it",
    "tests/test_publishers.py::TestDeletions::test_deletion_that_fails_is_not_told",
    "tests/test_publishers.py::TestRelations::test_other_side_changes_their_owners_with_few_queries",
    "tests/test_publishers.py::TestInsideOfAView::test_view_has_the_say_about_its_object",
)


@pytest.mark.postgresql
class TestOnPostgreSQL:
    def test_whatever_holds_on_sqlite_holds_there(self):
        with running_cluster() as variables:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-q",
                    "--ds=tests.postgresql_settings",
                    "-p",
                    "no:cacheprovider",
                    *TESTS,
                ],
                cwd=ROOT,
                env={**os.environ, **variables, "PYTEST_ADDOPTS": ""},
                capture_output=True,
                text=True,
                timeout=300,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        assert " passed" in done.stdout
        assert " skipped" not in done.stdout
