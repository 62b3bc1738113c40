"""Volumes, binds, tmpfs, cp, diff, commit, export, through the stock CLI."""

import io
import tarfile
from pathlib import Path

import pytest

from support.engine import Engine

pytestmark = pytest.mark.root


def test_a_volume_outlives_its_container(engine: Engine) -> None:
    engine.docker("run", "--rm", "-v", "store:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert engine.docker("run", "--rm", "-v", "store:/data:ro", "busybox", "cat", "/data/file") == "kept\n"
    assert "Read-only" in engine.docker("run", "--rm", "-v", "store:/data:ro", "busybox", "touch", "/data/x", code=1, both=True)
    engine.docker("create", "--name", "user", "-v", "store:/data", "busybox")
    assert "volume is in use" in engine.docker("volume", "rm", "store", code=1, both=True)
    engine.docker("rm", "user")
    engine.docker("volume", "rm", "store")
    assert "no such volume" in engine.docker("volume", "inspect", "store", code=1, both=True).lower()


def test_an_empty_volume_is_filled_from_the_image(engine: Engine) -> None:
    assert "passwd" in engine.docker("run", "--rm", "-v", "filled:/etc", "busybox", "ls", "/etc")
    assert "passwd" in engine.docker("run", "--rm", "-v", "filled:/x", "busybox", "ls", "/x")
    engine.docker("volume", "rm", "filled")


def test_anonymous_volumes_go_with_rm_v(engine: Engine) -> None:
    before = set(engine.docker("volume", "ls", "-q").split())
    engine.docker("run", "--rm", "-v", "/data", "busybox", "touch", "/data/x")
    assert set(engine.docker("volume", "ls", "-q").split()) == before
    engine.docker("create", "--name", "anon", "-v", "/data", "busybox")
    assert len(set(engine.docker("volume", "ls", "-q").split()) - before) == 1
    engine.docker("rm", "-v", "anon")
    assert set(engine.docker("volume", "ls", "-q").split()) == before


def test_binds(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("from the host\n")
    assert engine.docker("run", "--rm", "-v", f"{tmp_path}:/x:ro", "busybox", "cat", "/x/page") == "from the host\n"
    assert "Read-only" in engine.docker("run", "--rm", "-v", f"{tmp_path}:/x:ro", "busybox", "touch", "/x/n", code=1, both=True)
    engine.docker("run", "--rm", "--mount", f"type=bind,src={tmp_path},dst=/y", "busybox", "touch", "/y/made")
    assert (tmp_path / "made").exists()
    missing = engine.docker("run", "--rm", "--mount", "type=bind,src=/no/such,dst=/y", "busybox", "true", code=125, both=True)
    assert "bind source path does not exist: /no/such" in missing
    engine.docker("run", "--rm", "-v", f"{tmp_path}/new:/z", "busybox", "true")
    assert (tmp_path / "new").is_dir()


def test_tmpfs(engine: Engine) -> None:
    out = engine.docker(
        "run", "--rm", "--tmpfs", "/t:size=1m,mode=700", "busybox", "sh", "-c", "stat -c %a /t; df -k /t | tail -1"
    )
    assert out.split()[0] == "700"
    assert "1024" in out


def test_volumes_from(engine: Engine) -> None:
    engine.docker("run", "--name", "owner", "-v", "shared:/d", "busybox", "sh", "-c", "echo ours > /d/f")
    assert engine.docker("run", "--rm", "--volumes-from", "owner", "busybox", "cat", "/d/f") == "ours\n"
    engine.docker("rm", "owner")
    engine.docker("volume", "rm", "shared")


@pytest.mark.parametrize("running", [True, False])
def test_cp_both_ways(engine: Engine, tmp_path: Path, running: bool) -> None:
    name = f"cp{int(running)}"
    engine.docker("create", "--name", name, "busybox", "sleep", "1000")
    if running:
        engine.docker("start", name)
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("content")
    engine.docker("cp", str(tmp_path / "tree"), f"{name}:/tmp/")
    engine.docker("cp", f"{name}:/tmp/tree/sub/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"
    out = engine.run("docker", "cp", f"{name}:/tmp/tree", "-").stdout
    assert "tree/sub/file" in tarfile.open(fileobj=io.BytesIO(out)).getnames()
    said = engine.docker("cp", f"{name}:/nosuch", str(tmp_path), code=1, both=True)
    assert "Could not find the file" in said or "No such container:path" in said  # as newer and older clients word it
    engine.docker("rm", "-f", name)


def test_cp_of_a_running_root_leaves_out_what_the_kernel_fills(engine: Engine) -> None:
    engine.docker(
        "run", "-d", "--name", "whole", "--mount", "type=volume,dst=/vol", "busybox", "sh", "-c", "touch /vol/mine; sleep 1000"
    )
    engine.docker("exec", "whole", "ls", "/vol/mine")
    out = engine.run("docker", "cp", "whole:/", "-")
    names = [name.strip("/") for name in tarfile.open(fileobj=io.BytesIO(out.stdout)).getnames()]
    assert out.returncode == 0, out.stderr
    assert {"proc", "sys", "dev", "etc/passwd", "vol/mine"} <= set(names)
    assert [name for name in names if name.startswith(("proc/", "sys/", "dev/"))] == []
    engine.docker("rm", "-f", "-v", "whole")


def test_diff(engine: Engine) -> None:
    engine.docker("run", "--name", "diff", "busybox", "sh", "-c", "touch /new; rm /etc/group; echo x >> /etc/passwd")
    lines = set(engine.docker("diff", "diff").splitlines())
    assert {"A /new", "C /etc", "D /etc/group", "C /etc/passwd"} <= lines
    engine.docker("rm", "diff")


def test_commit_makes_an_image_that_runs(engine: Engine) -> None:
    engine.docker("run", "--name", "src", "busybox", "sh", "-c", "echo mine > /file; rm /etc/group")
    engine.docker("commit", "-m", "note", "-a", "me", "-c", "CMD cat /file", "-c", "ENV X=1", "src", "mine:1")
    assert engine.docker("run", "--rm", "mine:1") == "mine\n"
    assert engine.docker("run", "--rm", "mine:1", "ls", "/etc/group", code=1) == ""
    assert "note" in engine.docker("history", "mine:1")
    assert "must be forced" in engine.docker("rmi", "busybox", code=1, both=True) or engine.docker("image", "inspect", "mine:1")
    engine.docker("rm", "src")
    engine.docker("rmi", "mine:1")


def test_export_and_import(engine: Engine, tmp_path: Path) -> None:
    engine.docker("create", "--name", "exp", "busybox")
    engine.docker("export", "-o", str(tmp_path / "root.tar"), "exp")
    engine.docker("import", "-c", 'CMD ["echo", "imported"]', str(tmp_path / "root.tar"), "imported:1")
    assert engine.docker("run", "--rm", "imported:1") == "imported\n"
    engine.docker("rm", "exp")
    engine.docker("rmi", "imported:1")


def test_save_and_load_keep_ids(engine: Engine, tmp_path: Path) -> None:
    engine.docker("tag", "busybox", "copy:1")
    before = engine.docker("image", "inspect", "-f", "{{.Id}} {{.RootFS.Layers}}", "copy:1")
    engine.docker("save", "-o", str(tmp_path / "i.tar"), "copy:1")
    engine.docker("rmi", "copy:1")
    assert "Loaded image: copy:1" in engine.docker("load", "-i", str(tmp_path / "i.tar"))
    assert engine.docker("image", "inspect", "-f", "{{.Id}} {{.RootFS.Layers}}", "copy:1") == before
    engine.docker("rmi", "copy:1")


def test_images_list_tag_and_remove(engine: Engine) -> None:
    engine.docker("tag", "busybox", "a.example/b/c:2")
    assert "a.example/b/c" in engine.docker("images", "--format", "{{.Repository}}")
    assert engine.docker("images", "-q", "a.example/b/*") == engine.docker("images", "-q", "busybox")
    assert engine.docker("rmi", "a.example/b/c:2") == "Untagged: a.example/b/c:2\n"
    engine.docker("run", "--name", "uses", "busybox", "true")
    assert "conflict: unable to remove repository reference" in engine.docker("rmi", "busybox", code=1, both=True)
    engine.docker("rm", "uses")
    assert "No such image" in engine.docker("rmi", "nosuch", code=1, both=True)


def test_system_df(engine: Engine) -> None:
    rows = engine.docker("system", "df").splitlines()
    assert [row.split("  ")[0] for row in rows[1:]] == ["Images", "Containers", "Local Volumes", "Build Cache"]
