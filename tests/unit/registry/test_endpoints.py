"""Where a registry is reached: mirrors, insecure hosts, proxies."""

import pytest

from orlop.registry.endpoints import Endpoint, endpoints, is_insecure, proxy_for
from orlop.spec.errors import InvalidArgument
from orlop.spec.registry import RegistryOptions


def _urls(domain: str, *, pull: bool = True, **options: object) -> list[str]:
    return [one.url for one in endpoints(domain, RegistryOptions(**options), pull=pull)]  # type: ignore[arg-type]


def test_docker_hub_is_elsewhere_than_its_name_says() -> None:
    assert _urls("docker.io") == ["https://registry-1.docker.io"]


def test_mirrors_come_first_and_only_to_pull() -> None:
    mirrors = {"docker.io": ("http://mirror:5000/",), "quay.io": ("https://q/x",)}
    assert _urls("docker.io", mirrors=mirrors) == ["http://mirror:5000", "https://registry-1.docker.io"]
    assert _urls("quay.io", mirrors=mirrors) == ["https://q/x", "https://quay.io"]
    assert _urls("docker.io", mirrors=mirrors, pull=False) == ["https://registry-1.docker.io"]


def test_an_insecure_registry_is_asked_by_plain_http_too() -> None:
    found = endpoints("reg:5000", RegistryOptions(insecure=("reg:5000",)), pull=True)
    assert found == (Endpoint("https://reg:5000", verify=False), Endpoint("http://reg:5000", verify=False))


def test_a_mirror_that_is_no_url_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid mirror"):
        _urls("docker.io", mirrors={"docker.io": ("mirror:5000",)})


@pytest.mark.parametrize(
    ("host", "insecure", "expected"),
    [
        ("localhost:5000", (), True),
        ("127.0.0.9", (), True),
        ("[::1]:5000", (), True),
        ("10.1.2.3:5000", (), False),
        ("10.1.2.3:5000", ("10.0.0.0/8",), True),
        ("10.1.2.3:5000", ("10.1.2.3",), True),
        ("reg.example:5000", ("reg.example:5000",), True),
        ("reg.example:5000", ("reg.example:5001",), False),
        ("registry-1.docker.io", ("docker.io",), True),
        ("reg.example", ("10.0.0.0/8", "not/a/network"), False),
    ],
)
def test_who_may_do_without_tls(host: str, insecure: tuple[str, ...], expected: bool) -> None:
    assert is_insecure(host, insecure) is expected


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://reg.example/v2/", "", True),
        ("https://reg.example/v2/", "reg.example", False),
        ("https://a.reg.example/v2/", "reg.example", False),
        ("https://xreg.example/v2/", "reg.example", True),
        ("https://reg.example/v2/", ".reg.example", True),
        ("https://a.reg.example/v2/", "*.reg.example", False),
        ("https://reg.example:5000/v2/", "reg.example:5001", True),
        ("https://reg.example:5000/v2/", "other, reg.example:5000", False),
        ("https://10.1.2.3/v2/", "10.0.0.0/8", False),
        ("https://reg.example/v2/", "*", False),
        ("http://localhost:5000/v2/", "", False),
        ("http://reg.example/v2/", "", False),  # only HTTPS_PROXY is set
    ],
)
def test_proxies_are_those_of_the_environment(url: str, no_proxy: str, proxied: bool) -> None:
    environment = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy}
    assert proxy_for(url, environment) == ("http://proxy:3128" if proxied else "")
