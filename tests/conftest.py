"""Every test process leaves the host's mount and network namespaces first; the fixtures give engines, images, a registry."""

import os
from collections.abc import Iterator

import pytest

from support import arena
from support.engine import Engine
from support.images import archive


def pytest_configure(config: pytest.Config) -> None:
    if os.getuid() == 0:
        arena.enter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.getuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root: namespaces, mounts and cgroups"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A running engine that has the image `busybox`; one for each test module."""
    running = Engine().start()
    try:
        running.docker("load", "-i", str(archive("busybox")))
        yield running
    finally:
        running.destroy()


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    """An engine for one test alone, for tests that kill it or count what is left."""
    running = Engine().start()
    try:
        running.docker("load", "-i", str(archive("busybox")))
        yield running
    finally:
        running.destroy()
