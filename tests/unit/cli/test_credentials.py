"""config.json and credential helpers."""

import json
from base64 import b64decode, urlsafe_b64decode
from pathlib import Path

import pytest

from orlop.cli.command import parse
from orlop.cli.credentials import HUB, credentials, erase, read_configuration, registry_header, registry_key, store
from orlop.cli.dispatch import GLOBAL
from orlop.cli.session import Failure, Session

HELPER = """#!/bin/sh
# keeps one secret in a file beside itself
file=$(dirname "$0")/secret
case $1 in
  store) cat >"$file" ;;
  get) read key; [ -e "$file" ] && cat "$file" || { echo "credentials not found in native keychain"; exit 1; } ;;
  erase) rm -f "$file" ;;
  *) echo broken; exit 3 ;;
esac
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(parse(GLOBAL, ["--config", str(tmp_path)]))


def written(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "config.json").read_text())
    return found


def test_no_file_means_no_credentials(session: Session) -> None:
    assert credentials(session, "r.example") == {}
    assert registry_header(session, "r.example") == ""
    assert urlsafe_b64decode(registry_header(session, "r.example", always=True)) == b"{}"


def test_what_is_stored_is_found(session: Session, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"psFormat": "x"}')
    assert store(session, "r.example:5000", "me", "pass:word", "") == f"{tmp_path}/config.json"
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    kept = written(tmp_path)
    assert kept["psFormat"] == "x"  # what others wrote stays
    assert b64decode(kept["auths"]["r.example:5000"]["auth"]) == b"me:pass:word"  # type: ignore[index]
    found = credentials(session, "r.example:5000")
    assert found == {"username": "me", "password": "pass:word", "serveraddress": "r.example:5000"}
    assert json.loads(urlsafe_b64decode(registry_header(session, "r.example:5000"))) == found


def test_tokens(session: Session) -> None:
    store(session, "r.example", "me", "password", "token")
    assert credentials(session, "r.example") == {
        "username": "me",
        "password": "",
        "identitytoken": "token",
        "serveraddress": "r.example",
    }


def test_old_keys_are_urls(session: Session, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"https://r.example/v1/": {"auth": "bWU6cHc="}}}')
    assert credentials(session, "r.example")["password"] == "pw"


def test_the_hub_has_a_name_of_its_own() -> None:
    assert [registry_key(domain) for domain in ("docker.io", "index.docker.io", "r.example")] == [HUB, HUB, "r.example"]


def test_logging_out(session: Session, tmp_path: Path) -> None:
    assert erase(session, "r.example") is False
    store(session, "r.example", "me", "pw", "")
    assert erase(session, "r.example") is True
    assert credentials(session, "r.example") == {}
    assert written(tmp_path)["auths"] == {}


def test_a_damaged_file_is_named(session: Session, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Failure, match=r"config\.json"):
        credentials(session, "r.example")
    assert read_configuration(str(tmp_path / "nosuch")) == {}


def test_a_helper_keeps_the_secret(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import posix

    program = tmp_path / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setitem(posix.environ, b"PATH", f"{tmp_path}:/usr/bin:/bin".encode())
    (tmp_path / "config.json").write_text('{"credHelpers": {"r.example": "test"}, "credsStore": "nosuch"}')
    assert credentials(session, "r.example") == {}
    assert store(session, "r.example", "me", "pw", "") is None
    assert "pw" not in (tmp_path / "config.json").read_text()
    assert credentials(session, "r.example") == {"username": "me", "password": "pw", "serveraddress": "r.example"}
    assert erase(session, "r.example") is True
    assert credentials(session, "r.example") == {}
    with pytest.raises(Failure, match="docker-credential-nosuch"):
        credentials(session, "other.example")
