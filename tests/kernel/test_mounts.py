"""Mounts that take more than one call. The test process is in a mount namespace of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel import mounts, syscalls
from orlop.spec.mounts import Mount

pytestmark = pytest.mark.root


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "target"
    directory.mkdir()
    yield directory
    while os.path.ismount(directory):
        syscalls.umount2(directory, syscalls.MNT_DETACH)


def layers(tmp_path: Path, count: int) -> list[str]:
    made = []
    for number in range(count):
        layer = tmp_path / "layers" / f"{number:064d}"
        layer.mkdir(parents=True)
        (layer / f"file-{number}").write_text(str(number))
        made.append(str(layer))
    return made


def options(tmp_path: Path, lower: list[str]) -> tuple[str, ...]:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    return (f"lowerdir={':'.join(lower)}", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work")


@pytest.mark.parametrize("count", [2, 127, 400])
def test_an_overlay_of_any_number_of_layers(tmp_path: Path, target: Path, count: int) -> None:
    before, descriptors = os.getcwd(), len(os.listdir("/proc/self/fd"))
    mounts.mount_all([Mount("overlay", "overlay", options(tmp_path, layers(tmp_path, count)))], str(target))
    assert sorted(os.listdir(target)) == sorted(f"file-{number}" for number in range(count))
    (target / "file-0").write_text("changed")
    assert (tmp_path / "upper/file-0").read_text() == "changed"
    assert (os.getcwd(), len(os.listdir("/proc/self/fd"))) == (before, descriptors)


def test_a_read_only_overlay(tmp_path: Path, target: Path) -> None:
    lower = ":".join(layers(tmp_path, 120))
    mounts.mount_one("overlay", "overlay", (f"lowerdir={lower}", "ro"), str(target))
    with pytest.raises(OSError, match="Read-only"):
        (target / "x").touch()


def test_a_bind_mount_with_attributes(tmp_path: Path, target: Path) -> None:
    (tmp_path / "source").mkdir()
    mounts.mount_one("bind", str(tmp_path / "source"), ("rbind", "ro", "nosuid"), str(target))
    (line,) = (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(target))
    assert {"ro", "nosuid"} <= set(line.split()[5].split(","))


def test_an_overlay_that_cannot_be_mounted_leaves_nothing_open(tmp_path: Path, target: Path) -> None:
    before, descriptors = os.getcwd(), len(os.listdir("/proc/self/fd"))
    lower = ":".join([*layers(tmp_path, 127), str(tmp_path / "missing")])
    with pytest.raises(FileNotFoundError, match="missing"):
        mounts.mount_one("overlay", "overlay", (f"lowerdir={lower}",), str(target))
    assert (os.getcwd(), len(os.listdir("/proc/self/fd"))) == (before, descriptors)


def test_an_error_names_the_call_and_the_path(target: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mount: No such file"):
        syscalls.mount("x", target / "none", "tmpfs")
