"""Two processes are one server with each generation of the ``redis`` package, where Redis hangs up on the idle."""

import asyncio
import os
import subprocess
import sys

import pytest

from tests.redis_servers import RedisServer
from tests.server.clusters import Cluster, until
from tests.server.crowds import ROOM, gathered

pytestmark = [pytest.mark.packaging, pytest.mark.redis]

#: The oldest that setup.py allows, and the last of each generation.
VERSIONS = ("==5.0.8", "~=5.0", "~=6.0", "~=7.0", "")
# Seconds after which Redis hangs up, and for which nobody says anything.
HANG_UP = 1
IDLE = 3.0


def install(folder, version):
    """Put one version of the package before the one that is installed, without an environment of its own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, f"redis{version}"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    [metadata] = folder.glob("redis-*.dist-info")
    return metadata.name.split("-")[1].removesuffix(".dist")


async def live(folder, packages):
    """Two processes are one server, are idle for a while, and are one server still; returns what they printed."""
    cluster = Cluster(folder, redis=RedisServer("--timeout", str(HANG_UP)), packages=packages)
    try:
        await cluster.start(2)
        async with gathered(cluster, has_load=False) as crowd:
            for _ in range(2):
                visit = await crowd.come(0, stays=True)

                async def is_known(user=visit.user):
                    return user in (await cluster.users(1, ROOM) or ())

                await until(is_known, "the other process knows who has come", patience=10)
                for place in (0, 1):
                    event = await crowd.publish_once(place)
                    await until(
                        lambda event=event: all(
                            [item.id for item in sitting.heard].count(event.id) == len(event.channels)
                            for sitting in crowd.sittings
                        ),
                        "everybody hears it once",
                        patience=10,
                    )
                await asyncio.sleep(IDLE)
        assert crowd.faults == []
    finally:
        await cluster.close()
    return [process.output for process in cluster.processes]


async def live_all(folder, packages):
    """All of them at the same time; what each has printed, or what went wrong."""
    lives = [live(folder / str(number), each) for number, each in enumerate(packages)]
    return await asyncio.gather(*lives, return_exceptions=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By version as it was asked for, the version that was found, and what came of it."""
    folders = {version: tmp_path_factory.mktemp("packages") for version in VERSIONS}
    found = [install(folder, version) for version, folder in folders.items()]
    outcomes = asyncio.run(live_all(tmp_path_factory.mktemp("clusters"), map(os.fspath, folders.values())))
    return dict(zip(VERSIONS, zip(found, outcomes, strict=True), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_processes_are_one_server_and_bear_to_be_idle(outcomes, version):
    found, outcome = outcomes[version]
    if isinstance(outcome, BaseException):
        raise outcome
    for output in outcome:
        assert not any(word in output for word in (" is away (", "Warning", "Traceback")), (found, output)
