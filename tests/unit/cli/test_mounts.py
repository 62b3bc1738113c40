"""--mount and -v."""

from pathlib import Path
from typing import Any

import pytest

from orlop.cli.mounts import absolute, parse_mount, split_volumes


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("dst=/d", {"Type": "volume", "Target": "/d"}),
        ("type=bind,src=/a,dst=/b,readonly", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}),
        ("type=bind,src=/a,dst=/b,ro=false", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False}),
        (
            "type=bind,src=/a,dst=/b,bind-propagation=RSLAVE,bind-recursive=disabled",
            {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rslave", "NonRecursive": True}},
        ),
        (
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}},
        ),
        (
            "src=v,dst=/d,volume-nocopy,volume-opt=type=nfs,volume-label=a=b,volume-driver=x",
            {
                "Type": "volume",
                "Source": "v",
                "Target": "/d",
                "VolumeOptions": {
                    "NoCopy": True,
                    "Labels": {"a": "b"},
                    "DriverConfig": {"Name": "x", "Options": {"type": "nfs"}},
                },
            },
        ),
        ('src=v,"dst=/a,b"', {"Type": "volume", "Source": "v", "Target": "/a,b"}),
    ],
)
def test_mounts(text: str, mount: dict[str, Any]) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "invalid field 'x' must be a key=value pair"),
        ("type=bind", "target is required"),
        ("foo=1,dst=/x", "unknown option 'foo' in 'foo=1'"),
        ("dst=/x,ro=maybe", "invalid value for 'ro': invalid boolean value (\"maybe\")"),
        ("dst=", "invalid value for 'dst': value is empty"),
        ("dst=/x,bind-propagation=shared", "cannot mix 'bind-*' options with mount type 'volume'"),
        ("type=bind,src=/a,dst=/x,bind-recursive=writable", "option 'bind-recursive=writable' requires 'readonly'"),
        ("type=bind,src=/a,dst=/x,bind-nonrecursive", "bind-nonrecursive is deprecated"),
        ("type=tmpfs,dst=/x,tmpfs-size=huge", "invalid value for tmpfs-size: huge"),
        ("", "value is empty"),
    ],
)
def test_what_is_no_mount(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_mount(text)
    assert str(caught.value).startswith(message)


def test_volumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    binds, anonymous = split_volumes(["/a:/b:ro", "named:/c", "./x:/d", "/anonymous"])
    assert binds == ["/a:/b:ro", "named:/c", f"{tmp_path}/x:/d"]
    assert anonymous == {"/anonymous": {}}
    for text in ("", ":/x", "a:"):
        with pytest.raises(ValueError, match="volume spec"):
            split_volumes([text])


def test_absolute_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert [absolute(path) for path in ("/a//b/../c/.", "x", "..", "/..", ".")] == ["/a/c", "/usr/x", "/", "/", "/usr"]
