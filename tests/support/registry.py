"""Registries for tests: Debian's docker-registry on loopback, images made by hand, and skopeo to bring them there."""

import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
USER, PASSWORD = "alice", "secret"
HTPASSWD = f"{USER}:$2b$04$1sR6sFVdFL3TDHsCU.92j.rk6c.Bqb.56EW31XvVx82KcmWokdW1i\n"  # bcrypt of PASSWORD


class Registry:
    """A docker-registry of its own. `address` is host:port; a `guarded` one lets in only USER, by Basic authentication."""

    def __init__(
        self, *, host: str = "127.0.0.1", guarded: bool = False, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="orlop-registry-")
        self.root = Path(self.directory.name)
        self.guarded = guarded
        self.address = f"{host}:{_free_port()}"
        tls = f", tls: {{certificate: {certificate}, key: {key}}}" if certificate else ""
        lines = [
            "version: 0.1",
            "log: {level: error, accesslog: {disabled: true}}",
            f"storage: {{filesystem: {{rootdirectory: {self.root}/data}}, delete: {{enabled: true}}}}",
            f"http: {{addr: '{self.address}'{tls}}}",
        ]
        if guarded:
            (self.root / "htpasswd").write_text(HTPASSWD)
            lines.append(f"auth: {{htpasswd: {{realm: test, path: {self.root}/htpasswd}}}}")
        (self.root / "config.yml").write_text("\n".join(lines) + "\n")
        log = (self.root / "log").open("wb")
        self._process = subprocess.Popen(["docker-registry", "serve", str(self.root / "config.yml")], stdout=log, stderr=log)
        _wait_for(self.address)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self.directory.cleanup()

    def blobs(self) -> set[str]:
        """Digests of all blobs that it has."""
        found = (self.root / "data/docker/registry/v2/blobs/sha256").glob("*/*/data")
        return {f"sha256:{path.parent.name}" for path in found}

    def skopeo(self, *arguments: str) -> str:
        """Run skopeo with this registry's credentials, TLS not verified."""
        return skopeo(*arguments, credentials=f"{USER}:{PASSWORD}" if self.guarded else "")

    def put(self, archive: Path, name: str, *options: str) -> str:
        """Bring an archive of `docker save` here, by skopeo; returns the full reference."""
        reference = f"{self.address}/{name}"
        self.skopeo("copy", *options, f"docker-archive:{archive}", f"docker://{reference}")
        return reference

    def inspect(self, name: str, *options: str) -> dict:
        """What skopeo sees of an image (`--raw`, `--config`: its documents)."""
        return json.loads(self.skopeo("inspect", *options, f"docker://{self.address}/{name}"))


def skopeo(verb: str, *arguments: str, credentials: str = "") -> str:
    tls = {"copy": ["--src-tls-verify=false", "--dest-tls-verify=false"], "inspect": ["--tls-verify=false"]}[verb]
    if credentials:
        tls += [f"--{side}creds={credentials}" for side in ({"copy": ("src-", "dest-")}.get(verb, ("",)))]
    command = ["skopeo", "--insecure-policy", verb, *tls, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": "/tmp"}).stdout


@dataclass(frozen=True)
class MadeImage:
    """An image made by hand: its id and diff ids are known before any engine has seen it."""

    id: str
    diff_ids: tuple[str, ...]
    archive: Path


def make_image(
    directory: Path,
    name: str = "made:latest",
    *,
    files: tuple[dict[str, bytes], ...] = (),
    architecture: str = "amd64",
    salt: bytes = b"",
) -> MadeImage:
    """An archive as `docker save` writes it: busybox (and `salt`: then no registry has it), then a layer of each `files`."""
    layers = [_layer({"bin/busybox": BUSYBOX.read_bytes(), "etc/salt": salt}, links={"bin/sh": "busybox"})] + [
        _layer(one) for one in files
    ]
    diff_ids = tuple(_digest(layer) for layer in layers)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"made": "by hand"}},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": f"layer {n}"} for n in range(len(layers))],
        }
    ).encode()
    path = directory / f"{name.replace('/', '_').replace(':', '_')}-{architecture}.tar"
    with tarfile.open(path, "w") as archive:
        names = [f"{diff_id[7:]}/layer.tar" for diff_id in diff_ids]
        for member, content in (*zip(names, layers, strict=True), (f"{_digest(config)[7:]}.json", config)):
            _add(archive, member, content)
        manifest = [{"Config": f"{_digest(config)[7:]}.json", "RepoTags": [name], "Layers": names}]
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return MadeImage(_digest(config), diff_ids, path)


def tar_of(name: str, content: bytes) -> bytes:
    """A tar of one file."""
    return _layer({name: content})


def _layer(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in sorted({os.path.dirname(name) for name in files if "/" in name}):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            _add(archive, name, content, mode=0o755)
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(address: str, seconds: float = 10) -> None:
    host, _, port = address.partition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
