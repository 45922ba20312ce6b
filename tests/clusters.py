"""A PostgreSQL of the tests' own: Debian's programs, a folder that is deleted afterwards, no port.

``PUSHERABLE_POSTGRESQL``, a folder with its programs, goes before what is installed.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "PUSHERABLE_POSTGRESQL"
REQUIRED_VARIABLE = "PUSHERABLE_REQUIRE_POSTGRESQL"

HOW_TO_GET_ONE = """\
Debian, Ubuntu:  apt-get install postgresql
Fedora:          dnf install postgresql-server
Everywhere:      pip install 'psycopg[binary]'"""

_INSTALLED = Path("/usr/lib/postgresql")
_PROGRAMS = ("initdb", "postgres")


def find_postgresql() -> Path | None:
    """The folder of the newest PostgreSQL's programs, or ``None``."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen) if _has_programs(Path(chosen)) else None
    folders = sorted(_INSTALLED.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [*folders, *([Path(on_path).resolve().parent] if on_path else [])]
    return next(filter(_has_programs, candidates), None)


def _has_programs(folder: Path) -> bool:
    return all((folder / name).exists() for name in _PROGRAMS)


def can_run() -> bool:
    return find_postgresql() is not None and find_spec("psycopg") is not None


def is_required() -> bool:
    """Whether a run without PostgreSQL has to fail."""
    return os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")


def explain_absence() -> str:
    """What is missing, and how to get it."""
    reason = "No psycopg is installed." if find_postgresql() else "No PostgreSQL was found."
    return f"{reason}\n{HOW_TO_GET_ONE}"


@contextmanager
def running_cluster() -> Iterator[dict[str, str]]:
    """A fresh PostgreSQL, as the variables by which any client of libpq finds it."""
    programs = find_postgresql()
    assert programs is not None, explain_absence()
    # PostgreSQL refuses to run as root. Below /tmp, since the path of a socket has to be short.
    account = {"user": "nobody"} if os.getuid() == 0 else {}
    folder = tempfile.mkdtemp(prefix="pusherable-pg-", dir="/tmp")
    try:
        if account:
            shutil.chown(folder, **account)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": folder}
        data = f"{folder}/data"
        initialize = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initialize, check=True, capture_output=True, cwd=folder, env=environment, **account)
        command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"]
        command += ["-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        with Path(f"{folder}/log").open("w") as log:
            server = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=environment, **account
            )
            try:
                _wait_until_it_answers(server, folder)
                yield {"PGHOST": folder, "PGPORT": "5432", "PGUSER": "postgres"}
            finally:
                # Fast shutdown: it does not wait for clients.
                server.send_signal(2)
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(server: subprocess.Popen[bytes], folder: str) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(host=folder, user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(Path(f"{folder}/log").read_text()) from None
            time.sleep(0.05)
