"""What may follow the words so far."""

import pytest

from orlop.cli.completion import FILES, SHELLS, candidates
from orlop.client.http import Client, Unreachable


class Pretend(Client):
    """A daemon with one of each noun."""

    def __init__(self) -> None:
        pass

    def call(self, method: str, path: str, body: object = None, headers: str = "") -> object:
        nouns: dict[str, object] = {
            "/containers/json": [{"Names": ["/web"], "Status": "Up"}],
            "/images/json": [{"RepoTags": ["debian:12"], "Id": "sha256:0123456789abcdef"}],
            "/networks": [{"Name": "back", "Driver": "bridge"}],
            "/volumes": {"Volumes": [{"Name": "data", "Driver": "local"}]},
        }
        return nouns[path.partition("?")[0]]


class Absent(Client):
    def __init__(self) -> None:
        pass

    def call(self, method: str, path: str, body: object = None, headers: str = "") -> object:
        raise Unreachable("nobody there")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["ru"], ["run"]),
        (["container", "inspe"], ["inspect"]),
        (["imag"], ["image", "images"]),
        (["nosuch", ""], []),
        (["ps", "--fil"], ["--filter"]),
        (["rm", ""], ["web"]),
        (["rm", "-f", "w"], ["web"]),
        (["logs", "web", ""], []),
        (["run", "--rm", "deb"], ["debian:12"]),
        (["run", "debian:12", "--"], [FILES]),
        (["run", "--network", ""], ["back"]),
        (["run", "--pull", "m"], ["missing"]),
        (["run", "--env-file", ""], [FILES]),
        (["run", "--name", ""], []),
        (["network", "connect", ""], ["back"]),
        (["network", "connect", "back", ""], ["web"]),
        (["volume", "rm", ""], ["data"]),
        (["cp", "w"], ["web:", FILES]),
        (["-H", "x", "ps", "--qu"], ["--quiet"]),
        (["--tlsv"], ["--tlsverify"]),
        (["completion", "b"], ["bash"]),
    ],
)
def test_candidates(words: list[str], names: list[str]) -> None:
    assert [name for name, _ in candidates(words, Pretend())] == names


def test_without_a_daemon_there_are_fewer() -> None:
    assert candidates(["rm", ""], Absent()) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_scripts_ask_orlop_itself(shell: str) -> None:
    assert "orlop __complete -- " in SHELLS[shell]
