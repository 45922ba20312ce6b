"""pusher-js in node, as npm brings it."""

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from pusherable.pusherjs import VERSION
from tests.clients.pusherjs import PATIENCE, PusherJs, PusherJsContract

DRIVER = Path(__file__).with_name("node_driver.js")


class InNode(PusherJs):
    """A pusher-js in a process of its own."""

    def __init__(self, node: str, pusherjs: Path, options: dict[str, Any]) -> None:
        self._heard: list[list[Any]] = []
        self._answers: list[Any] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            [node, DRIVER, pusherjs, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def do(self, name: str, *given: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([name, *given])}\n")
        self._process.stdin.flush()
        with self._said:
            assert self._said.wait_for(lambda: self._answers, PATIENCE), name
            return self._answers.pop()

    def wait_for(self, *entry: Any) -> None:
        with self._said:
            assert self._said.wait_for(lambda: list(entry) in self._heard, PATIENCE), (entry, self._heard)

    def wait_for_count(self, source: str, count: int) -> None:
        with self._said:
            assert self._said.wait_for(lambda: len(self.heard(source)) >= count, PATIENCE), (source, self._heard)

    def everything(self) -> list[list[Any]]:
        return list(self._heard)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(PATIENCE) == 0
        finally:
            self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                [(what, content)] = json.loads(line).items()
                with self._said:
                    (self._heard if what == "heard" else self._answers).append(content)
                    self._said.notify_all()


@pytest.fixture(scope="module")
def node() -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on the PATH")
    return node


@pytest.fixture(scope="module")
def pusherjs(node, request) -> Path:
    """Where npm has put pusher-js; it stays in pytest's cache."""
    folder = request.config.cache.mkdir(f"pusher-js-{VERSION}")
    place = folder / "node_modules" / "pusher-js"
    npm = shutil.which("npm")
    if not (place / "package.json").exists():
        if npm is None:
            pytest.skip("there is no npm on the PATH to fetch pusher-js with")
        command = [npm, "install", "--prefix", folder, "--no-save", "--ignore-scripts", "--fetch-retries=1"]
        done = subprocess.run([*command, f"pusher-js@{VERSION}"], capture_output=True, text=True, timeout=180)
        if done.returncode:
            pytest.skip(f"npm could not fetch pusher-js {VERSION}: {done.stderr.strip()[-300:]}")
    assert json.loads((place / "package.json").read_text())["version"] == VERSION
    return place


class TestPusherJsInNode(PusherJsContract):
    @pytest.fixture
    def open_pusherjs(self, node, pusherjs):
        opened = []

        def open_pusherjs(options):
            opened.append(InNode(node, pusherjs, options))
            return opened[-1]

        yield open_pusherjs
        for each in opened:
            each.close()
