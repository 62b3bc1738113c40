"""Manifests, indexes and configs: read leniently, written in one form, refused by name."""

import json

import pytest

from orlop.spec.container import HealthSpec, ProcessDefaults
from orlop.spec.errors import Corrupt, NotSupported
from orlop.spec.image import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
)
from orlop.spec.image_json import (
    encode_config,
    encode_index,
    encode_manifest,
    parse_config,
    parse_document,
    parse_index,
    parse_manifest,
)

DIGEST = "sha256:" + "a" * 64
CONFIG = ImageConfig(
    platform=Platform("linux", "arm64", "v8"),
    process=ProcessDefaults(
        user="u", env=("A=b",), entrypoint=(), command=("x",), labels={"a": "ü"}, exposed_ports=("80/tcp",), volumes=("/v",),
        working_dir="/w", stop_signal="SIGINT", stop_timeout_seconds=0, shell=("/bin/sh",), on_build=("RUN x",),
        healthcheck=HealthSpec(test=("CMD", "x"), interval_ns=5, retries=2),
    ),
    diff_ids=(DIGEST,),
    history=(History(created="2026-01-02T03:04:05Z", created_by="x"), History(comment="c", empty_layer=True)),
    created="2026-01-02T03:04:05Z",
    author="me",
)  # fmt: skip
MANIFEST = Manifest(
    media_type=OCI_MANIFEST,
    config=Descriptor(media_type=OCI_CONFIG, digest=DIGEST, size=7),
    layers=(Descriptor(media_type=OCI_LAYER + "+gzip", digest=DIGEST, size=9, annotations={"a": "b"}),),
)
INDEX = Index(
    media_type=OCI_INDEX,
    manifests=(Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=3, platform=Platform("linux", "arm", "v7")),),
)


def test_what_is_written_reads_back() -> None:
    assert parse_config(encode_config(CONFIG)) == CONFIG
    assert parse_manifest(encode_manifest(MANIFEST)) == MANIFEST
    assert parse_index(encode_index(INDEX)) == INDEX


def test_the_written_form_is_one_only() -> None:
    assert encode_config(ImageConfig(platform=Platform())) == (
        b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}'
    )


def test_null_counts_as_absent_and_unknown_members_are_ignored() -> None:
    content = {"os": "linux", "architecture": "amd64", "config": {"Cmd": None, "Env": None, "New": 1}, "history": None, "x": []}
    assert parse_config(json.dumps(content).encode()).process == ProcessDefaults()


def test_a_manifest_without_a_media_type_is_what_its_config_is() -> None:
    tree = json.loads(encode_manifest(MANIFEST))
    del tree["mediaType"]
    assert parse_manifest(json.dumps(tree).encode()).media_type == OCI_MANIFEST
    tree["config"]["mediaType"] = DOCKER_CONFIG
    assert parse_manifest(json.dumps(tree).encode()).media_type == DOCKER_MANIFEST
    assert parse_manifest(json.dumps(tree).encode(), OCI_MANIFEST).media_type == OCI_MANIFEST


def test_schema_1_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="schema 1 is not supported"):
        parse_document(b'{"schemaVersion": 1, "fsLayers": []}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "no config"),
        (b'{"config": {}, "layers": {}}', "no config or no list"),
        (b'{"config": {"digest": "sha256:x"}, "layers": []}', "invalid digest"),
        (b'{"config": {"digest": "%s", "size": -1}}' % DIGEST.encode(), "negative"),
        (b'{"config": {"digest": "%s", "size": "9"}}' % DIGEST.encode(), "not a whole number"),
        (b'{"manifests": [], "layers": []}', "CVE-2021-41190"),
        (b'{"manifests": [7]}', "not an object"),
    ],
)
def test_a_malformed_manifest_is_corrupt(content: bytes, message: str) -> None:
    with pytest.raises(Corrupt) as caught:
        parse_document(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [{"config": {"Env": "A=b"}}, {"config": {"Env": [1]}}, {"rootfs": {"diff_ids": ["x"]}}, {"history": [1]}, {"os": 3}],
)
def test_a_malformed_config_is_corrupt(config: dict) -> None:
    with pytest.raises(Corrupt, match="invalid"):
        parse_config(json.dumps(config).encode())
