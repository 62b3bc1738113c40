"""Pull and push against Debian's docker-registry, judged by skopeo; and against a registry that misbehaves."""

import asyncio
import os
import shutil
import subprocess
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orlop.spec.errors import Corrupt, NotFoundThere, RegistryFailed, Unauthorized
from orlop.spec.image import ImageRecord
from orlop.spec.progress import ProgressEvent
from orlop.spec.registry import Credentials, RegistryOptions
from support.image_engine import Library, library
from support.registry import PASSWORD, USER, MadeImage, Registry, make_image, skopeo, tar_of
from support.rogue import Rogue, digest_of

pytestmark = pytest.mark.root

ALICE = Credentials(username=USER, password=PASSWORD)
RANDOM = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    running = Registry(guarded=True)
    yield running
    running.close()


@pytest.fixture
def rogue() -> Iterator[Callable[..., Rogue]]:
    with ExitStack() as ending:

        def start(**how: Any) -> Rogue:
            server = Rogue(**how)
            ending.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeImage:
    return make_image(tmp_path_factory.mktemp("made"), files=({"etc/random": RANDOM}, {"etc/motd": b"hello\n"}))


def run(root: Path, story: Callable[[Library], Awaitable[Any]], options: RegistryOptions | None = None) -> Any:
    """Do something with an images engine on a directory."""

    async def whole() -> Any:
        async with library(root, options or RegistryOptions()) as opened:
            return await story(opened)

    return asyncio.run(whole())


def pull(root: Path, reference: str, *, auth: Credentials | None = None, platform: str = "", **options: Any) -> ImageRecord:
    async def story(opened: Library) -> ImageRecord:
        await opened.tell(opened.images.pull(reference, auth=auth, platform=platform))
        return opened.images.get(reference)

    return run(root, story, RegistryOptions(**options))


def failure(root: Path, reference: str, **options: Any) -> str:
    """The error message with which a pull ends after it has begun. Nothing is left of it."""

    async def story(opened: Library) -> str:
        messages = [event async for event in opened.images.pull(reference, **options)]
        assert opened.images.list(all=True) == []
        assert opened.leftovers() == []
        return messages[-1].error

    error: str = run(root, story)
    return error


def shown(messages: list[ProgressEvent]) -> list[str]:
    """Status lines, as `docker` prints them without a terminal."""
    return [f"{event.id}: {event.status}" if event.id else event.status for event in messages if event.status]


FORMS = {
    "docker-gzip": ("--format", "v2s2"),
    "oci-gzip": ("--format", "oci"),
    "oci-zstd": ("--format", "oci", "--dest-compress-format", "zstd", "--dest-compress"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_skopeo_pushed_is_pulled_as_it_was(registry: Registry, tmp_path: Path, form: str) -> None:
    made = make_image(tmp_path, files=({"etc/random": RANDOM},), salt=form.encode())
    reference = registry.put(made.archive, f"forms/{form}:1", *FORMS[form])
    record = pull(tmp_path / "root", reference)
    theirs = registry.inspect(f"forms/{form}:1", "--raw")
    assert record.id == theirs["config"]["digest"]
    assert record.config.diff_ids == made.diff_ids
    if form.startswith("docker"):
        assert record.id == made.id
    if form.endswith("zstd"):
        assert theirs["layers"][0]["mediaType"].endswith("+zstd")
    assert record.tags == (reference,)
    assert record.digests == (f"{registry.address}/forms/{form}@{registry.inspect(f'forms/{form}:1')['Digest']}",)


def test_a_pull_tells_what_docker_tells(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    reference = registry.put(made.archive, "told:1")

    async def story(opened: Library) -> tuple[list[str], list[str]]:
        first = shown(await opened.tell(opened.images.pull(reference)))
        return first, shown(await opened.tell(opened.images.pull(reference)))

    first, second = run(tmp_path, story)
    layers = [layer["digest"][7:19] for layer in registry.inspect("told:1", "--raw")["layers"]]
    digest = registry.inspect("told:1")["Digest"]
    assert first[0] == "1: Pulling from told"
    assert first[-2:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {reference}"]
    for layer in layers:
        steps = [line.partition(": ")[2] for line in first if line.startswith(layer)]
        distinct = list(dict.fromkeys(step for step in steps if step != "Waiting"))
        assert distinct == [
            "Pulling fs layer",
            "Downloading",
            "Verifying Checksum",
            "Download complete",
            "Extracting",
            "Pull complete",
        ]
    assert second == ["1: Pulling from told", f"Digest: {digest}", f"Status: Image is up to date for {reference}"]


def test_layers_that_are_here_are_not_fetched_again(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    base, top = tar_of("base", RANDOM), tar_of("top", b"x")
    server.add_image("base", [base])
    server.add_image("both", [base, top])

    async def story(opened: Library) -> list[str]:
        await opened.tell(opened.images.pull(f"{server.address}/r:base"))
        return shown(await opened.tell(opened.images.pull(f"{server.address}/r:both")))

    lines = run(tmp_path, story)
    assert sum(line.endswith("Already exists") for line in lines) == 1
    assert all(server.sent[digest] <= len(blob) for digest, blob in server.blobs.items())


def test_two_pulls_at_once_fetch_a_layer_once(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    base = tar_of("base", RANDOM)
    server.add_image("a", [base, tar_of("a", b"a")])
    server.add_image("b", [base, tar_of("b", b"b")])

    async def story(opened: Library) -> None:
        pulls = (opened.tell(opened.images.pull(f"{server.address}/r:{tag}")) for tag in "ab")
        await asyncio.gather(*pulls)

    run(tmp_path, story)
    assert max(server.sent[digest] / len(blob) for digest, blob in server.blobs.items()) == 1


def test_by_digest_and_all_tags(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    for tag in ("1", "2"):
        registry.put(made.archive, f"tagged:{tag}")
    digest = registry.inspect("tagged:1")["Digest"]
    record = pull(tmp_path / "digest", f"{registry.address}/tagged@{digest}")
    assert (record.tags, record.digests) == ((), (f"{registry.address}/tagged@{digest}",))

    async def story(opened: Library) -> ImageRecord:
        await opened.tell(opened.images.pull(f"{registry.address}/tagged"))
        return opened.images.get(f"{registry.address}/tagged:2")

    assert set(run(tmp_path / "all", story).tags) == {f"{registry.address}/tagged:{tag}" for tag in "12"}


def test_an_index_gives_the_image_of_the_platform(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    server.add_image("x", [tar_of("x", b"amd64")])
    arm = server.add_image("a", [tar_of("a", b"arm64")], architecture="arm64")
    server.add_index("both", {"linux/amd64": "x", "linux/arm64": "a", "unknown/unknown": "x"})
    reference = f"{server.address}/multi:both"
    record = pull(tmp_path / "arm", reference, platform="linux/arm64")
    assert (record.id, record.config.platform.architecture) == (arm, "arm64")
    assert record.digests[0].endswith(digest_of(server.manifests["both"][1])), "the digest is the index's"
    error = failure(tmp_path / "s390x", reference, platform="linux/s390x")
    assert error == "no matching manifest for linux/s390x in the manifest list entries"


# Errors, in Docker's words, and nothing left behind.


def test_a_manifest_that_is_not_there(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    registry.put(made.archive, "there:1")
    expected = f"manifest for {registry.address}/there:2 not found: manifest unknown: manifest unknown"
    with pytest.raises(NotFoundThere) as caught:
        pull(tmp_path, f"{registry.address}/there:2")
    assert str(caught.value) == expected


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(RegistryFailed) as caught:
        pull(tmp_path, "127.0.0.1:1/x:1")
    assert str(caught.value) == 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
    with pytest.raises(RegistryFailed, match=r'Get "https://no-such-host.invalid/v2/": dial tcp: lookup no-such-host.invalid'):
        pull(tmp_path, "no-such-host.invalid/x:1")


def test_basic_authentication(guarded: Registry, made: MadeImage, tmp_path: Path) -> None:
    reference = guarded.put(made.archive, "secret/x:1")
    with pytest.raises(RegistryFailed, match="no basic auth credentials"):
        pull(tmp_path, reference)
    with pytest.raises(RegistryFailed, match="unauthorized: authentication required"):
        pull(tmp_path, reference, auth=replace(ALICE, password="wrong"))
    assert pull(tmp_path, reference, auth=ALICE).config.diff_ids == made.diff_ids


def test_login(guarded: Registry, tmp_path: Path) -> None:
    async def story(opened: Library) -> str:
        status = (await opened.images.login(replace(ALICE, server_address=guarded.address))).status
        with pytest.raises(Unauthorized, match="401 Unauthorized"):
            await opened.images.login(replace(ALICE, password="x", server_address=guarded.address))
        return status

    assert run(tmp_path, story) == "Login Succeeded"


def test_a_token_is_fetched_once_for_a_pull_of_one_layer(rogue: Any, tmp_path: Path) -> None:
    server = rogue(token="T")
    server.add_image("1", [tar_of("x", b"x")])
    assert pull(tmp_path, f"{server.address}/tokens:1").size
    paths = [path.partition("?")[0] for _, path, _ in server.requests]
    assert paths.count("/token") == 1


def test_a_busy_registry_is_asked_again(rogue: Any, tmp_path: Path) -> None:
    server = rogue(busy=3)
    server.add_image("1", [tar_of("x", b"x")])
    assert pull(tmp_path, f"{server.address}/busy:1").size
    assert server.busy == 0


def test_credentials_stay_with_the_registry_that_redirects(rogue: Any, tmp_path: Path) -> None:
    store = rogue()
    server = rogue(token="T", redirect=f"http://{store.address}")
    server.add_image("1", [tar_of("x", b"x")], config={"Cmd": ["x"]})
    store.blobs = server.blobs
    pull(tmp_path, f"{server.address}/moved:1")
    assert len(store.requests) == 2
    assert all("Authorization" not in headers for _, _, headers in store.requests)


def test_a_mirror_is_asked_first_and_the_registry_when_it_fails(rogue: Any, tmp_path: Path) -> None:
    mirror, server = rogue(), rogue()
    server.add_image("1", [tar_of("x", b"x")])
    options = {"mirrors": {server.address: (f"http://{mirror.address}",)}}
    assert pull(tmp_path / "empty", f"{server.address}/a:1", **options).size
    assert mirror.requests
    mirror.add_image("1", [tar_of("x", b"x")])
    before = len(server.requests)
    assert pull(tmp_path / "full", f"{server.address}/a:1", **options).size
    assert len(server.requests) == before
    mirror.close()
    assert pull(tmp_path / "dead", f"{server.address}/a:1", **options).size


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connections_within_a_pull(rogue: Any, tmp_path: Path, ranges: bool) -> None:
    server = rogue(break_after=2_000_000, breaks=1 if not ranges else 2, ranges=ranges)
    server.add_image("1", [tar_of("big", RANDOM + os.urandom(3 << 20))])
    record = pull(tmp_path, f"{server.address}/broken:1")
    (blob,) = [(digest, blob) for digest, blob in server.blobs.items() if len(blob) > 1 << 20]
    fetched = server.sent[blob[0]]
    assert record.size == 6 << 20
    if ranges:
        assert fetched == len(blob[1]), "every byte crossed the wire once"


def test_a_pull_that_failed_is_taken_up_by_the_next(rogue: Any, tmp_path: Path) -> None:
    server = rogue(break_after=4_000_000, breaks=1, stall=True)
    server.add_image("1", [tar_of("big", RANDOM + os.urandom(3 << 20))])
    digest, blob = max(server.blobs.items(), key=lambda pair: len(pair[1]))
    reference, partial = f"{server.address}/again:1", tmp_path / "partial" / digest.replace(":", "-")

    async def cancelled(opened: Library) -> None:
        task = asyncio.ensure_future(opened.tell(opened.images.pull(reference)))
        while not partial.exists() or partial.stat().st_size < 4_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await opened.workers.close()
        assert opened.leftovers() == []
        assert opened.images.list() == []

    run(tmp_path, cancelled)
    assert pull(tmp_path, reference).tags == (reference,)
    assert server.sent[digest] == len(blob), "every byte crossed the wire once"
    assert list(partial.parent.iterdir()) == []


def test_a_tampered_layer_is_refused_and_nothing_stays(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    server.add_image("1", [tar_of("good", b"good"), tar_of("bad", RANDOM)])
    server.tamper(max(server.blobs, key=lambda digest: len(server.blobs[digest])))
    assert failure(tmp_path, f"{server.address}/tampered:1")
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_layer_that_is_not_the_one_the_config_names(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    server.add_image("1", [tar_of("x", b"x")], rootfs={"type": "layers", "diff_ids": ["sha256:" + "0" * 64]})
    assert "wrong diff id calculated on extraction" in failure(tmp_path, f"{server.address}/wrong:1")


def test_documents_that_lie_are_refused(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    server.add_image("1", [tar_of("x", b"x")], rootfs={"type": "layers", "diff_ids": []})
    assert failure(tmp_path, f"{server.address}/lies:1") == "layers from manifest don't match image configuration"
    server.manifests["2"] = ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion": 1}')
    assert "schema 1 is not supported" in failure(tmp_path, f"{server.address}/lies:2")
    digest = "sha256:" + "1" * 64
    server.manifests[digest] = server.manifests["1"]
    with pytest.raises(Corrupt, match="manifest verification failed for digest"):
        pull(tmp_path, f"{server.address}/lies@{digest}")
    server.add_image("3", [tar_of("x", b"x")], os="windows")
    assert 'operating system "windows" cannot be used' in failure(tmp_path, f"{server.address}/lies:3")


# Push.


def test_what_we_push_skopeo_reads(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    target = f"{registry.address}/pushed/new:1"

    async def story(opened: Library) -> list[ProgressEvent]:
        await _load(opened, made.archive)
        await opened.images.tag("made:latest", f"{registry.address}/pushed/new", "1")
        return await opened.tell(opened.images.push(target))

    messages = run(tmp_path, story)
    seen = registry.inspect("pushed/new:1")
    assert messages[-1].aux == {"tag": "1", "digest": seen["Digest"], "size": messages[-1].aux["size"]}
    lines = shown(messages)
    assert lines[0] == f"The push refers to repository [{registry.address}/pushed/new]"
    assert lines[-1] == f"1: digest: {seen['Digest']} size: {messages[-1].aux['size']}"
    assert sum(line.endswith(": Pushed") for line in lines) == 3
    assert seen["Labels"] == {"made": "by hand"}
    assert registry.inspect("pushed/new:1", "--raw")["config"]["digest"] == made.id
    copied = tmp_path / "copied.tar"
    skopeo("copy", f"docker://{target}", f"docker-archive:{copied}:made:copied")
    with tarfile.open(copied) as archive:
        layers = [
            archive.extractfile(name).read()
            for name in archive.getnames()
            if name.endswith(".tar") and archive.getmember(name).isfile()
        ]  # type: ignore[union-attr]
    assert {digest_of(layer) for layer in layers} == set(made.diff_ids), "skopeo unpacked exactly our layers"


def test_an_image_that_was_pulled_goes_back_byte_for_byte(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    source = registry.put(made.archive, "origin/x:1")
    blobs = registry.blobs()

    async def story(opened: Library) -> list[str]:
        await opened.tell(opened.images.pull(source))
        await opened.images.tag(source, f"{registry.address}/copy/y", "2")
        first = await opened.tell(opened.images.push(f"{registry.address}/copy/y:2"))
        again = await opened.tell(opened.images.push(f"{registry.address}/copy/y:2"))
        assert opened.images.get(source).digests == (
            f"{registry.address}/copy/y@{first[-1].aux['digest']}",
            f"{registry.address}/origin/x@{first[-1].aux['digest']}",
        )
        return shown(first) + shown(again)

    lines = run(tmp_path, story)
    assert sum(line.endswith(": Mounted from origin/x") for line in lines) == 3
    assert sum(line.endswith(": Layer already exists") for line in lines) == 3
    assert registry.inspect("copy/y:2")["Digest"] == registry.inspect("origin/x:1")["Digest"]
    assert registry.blobs() == blobs, "nothing new was uploaded"


def test_a_second_registry_gets_its_own_blobs(registry: Registry, guarded: Registry, made: MadeImage, tmp_path: Path) -> None:
    source = registry.put(made.archive, "far/x:1")

    async def story(opened: Library) -> ImageRecord:
        await opened.tell(opened.images.pull(source))
        await opened.images.tag(source, f"{guarded.address}/near/x", "1")
        await opened.tell(opened.images.push(f"{guarded.address}/near/x:1", auth=ALICE))
        return opened.images.get(source)

    run(tmp_path / "push", story)
    back = pull(tmp_path / "back", f"{guarded.address}/near/x:1", auth=ALICE)
    assert (back.id, back.config.diff_ids) == (made.id, made.diff_ids)


def test_zstd_where_it_is_asked_for(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    async def story(opened: Library) -> None:
        await _load(opened, made.archive)
        await opened.images.tag("made:latest", f"{registry.address}/pushed/zstd", "1")
        await opened.tell(opened.images.push(f"{registry.address}/pushed/zstd:1"))

    run(tmp_path / "push", story, RegistryOptions(push_compression="zstd"))
    raw = registry.inspect("pushed/zstd:1", "--raw")
    assert {layer["mediaType"] for layer in raw["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert pull(tmp_path / "back", f"{registry.address}/pushed/zstd:1").config.diff_ids == made.diff_ids


def test_what_cannot_be_pushed(guarded: Registry, made: MadeImage, tmp_path: Path) -> None:
    async def story(opened: Library) -> list[str]:
        await _load(opened, made.archive)
        await opened.images.tag("made:latest", f"{guarded.address}/x", "1")
        references = (f"{guarded.address}/none:1", f"{guarded.address}/x:2", f"{guarded.address}/x:1")
        return [[event async for event in opened.images.push(reference)][-1].error for reference in references]

    missing, tag, refused = run(tmp_path, story)
    assert missing == f"An image does not exist locally with the tag: {guarded.address}/none"
    assert tag == f"tag does not exist: {guarded.address}/x:2"
    assert refused.endswith("no basic auth credentials")


def test_an_upload_goes_on_where_it_broke(rogue: Any, tmp_path: Path) -> None:
    made = make_image(tmp_path, files=({"etc/random": RANDOM},))
    server = rogue(upload_breaks=[1_000_000, 500_000, 0])

    async def story(opened: Library) -> None:
        await _load(opened, made.archive)
        await opened.images.tag("made:latest", f"{server.address}/up", "1")
        await opened.tell(opened.images.push(f"{server.address}/up:1"))

    run(tmp_path / "push", story)
    assert server.upload_breaks == []
    assert pull(tmp_path / "back", f"{server.address}/up:1").config.diff_ids == made.diff_ids
    total = sum(len(blob) for blob in server.blobs.values())
    assert sum(len(upload) for upload in server.uploads.values()) == total, "no byte was stored twice"


def test_an_image_without_layers(rogue: Any, tmp_path: Path) -> None:
    server = rogue()
    server.add_image("1", [])
    assert pull(tmp_path, f"{server.address}/empty:1").config.diff_ids == ()


# The way there: TLS, plain HTTP, proxies.


@pytest.fixture(scope="module")
def outside() -> str:
    """An address that is not loopback, so that TLS is wanted there."""
    subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    return "192.0.2.1"


@pytest.fixture(scope="module")
def certificate(outside: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    made = directory / "cert.pem", directory / "key.pem"
    subject = ["-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{outside}"]
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-out", made[0], "-keyout", made[1]]
    subprocess.run(["openssl", "req", *options], check=True, capture_output=True)
    return made


def test_tls(outside: str, certificate: tuple[Path, Path], made: MadeImage, tmp_path: Path) -> None:
    registry = Registry(host=outside, certificate=certificate[0], key=certificate[1])
    try:
        reference = registry.put(made.archive, "tls:1")
        none = str(tmp_path / "none")
        unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        with pytest.raises(RegistryFailed) as caught:
            pull(tmp_path / "unknown", reference, certificates=(none,))
        assert str(caught.value) == f'Get "https://{registry.address}/v2/": {unknown}'
        assert pull(tmp_path / "insecure", reference, certificates=(none,), insecure=("192.0.2.0/24",)).size
        directory = tmp_path / "certs.d" / registry.address
        directory.mkdir(parents=True)
        shutil.copy(certificate[0], directory / "ca.crt")
        assert pull(tmp_path / "known", reference, certificates=(none, str(directory.parent))).size
        shutil.copy(certificate[0], directory / "client.cert")
        with pytest.raises(RegistryFailed, match=r"missing key client.key for client certificate client.cert"):
            pull(tmp_path / "keyless", reference, certificates=(str(directory.parent),))
    finally:
        registry.close()


def test_plain_http_only_where_it_is_allowed(outside: str, made: MadeImage, tmp_path: Path) -> None:
    registry = Registry(host=outside)
    try:
        reference = registry.put(made.archive, "plain:1")
        with pytest.raises(RegistryFailed, match="http: server gave HTTP response to HTTPS client"):
            pull(tmp_path / "no", reference)
        assert pull(tmp_path / "yes", reference, insecure=(registry.address,)).size
    finally:
        registry.close()


def test_a_proxy_of_the_environment(outside: str, rogue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = rogue()  # answers for any host: it is asked with the whole URL
    proxy.add_image("1", [tar_of("x", b"x")])
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    assert pull(tmp_path / "proxied", f"{outside}:1/a:1", insecure=(outside,)).size
    monkeypatch.setenv("NO_PROXY", outside)
    with pytest.raises(RegistryFailed, match="connection refused"):
        pull(tmp_path / "direct", f"{outside}:1/a:1", insecure=(outside,))


def test_distribution(registry: Registry, made: MadeImage, tmp_path: Path) -> None:
    reference = registry.put(made.archive, "described:1")
    found = run(tmp_path, lambda opened: opened.images.distribution(reference, None))
    assert found.descriptor.digest == registry.inspect("described:1")["Digest"]
    assert [str(platform) for platform in found.platforms] == ["linux/amd64"]


async def _load(opened: Library, archive: Path) -> None:
    async def body() -> Any:
        yield archive.read_bytes()

    await opened.tell(opened.images.load(body()))
