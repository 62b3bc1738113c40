"""The config.json that `orlop-runtime spec` begins with: what the engine gives a read-only container with a terminal."""

from dataclasses import replace

from orlop.kernel import probe
from orlop.spec.bundle import runtime_spec
from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults
from orlop.spec.runtime import Root, RuntimeSpec, RuntimeUser


def default_spec() -> RuntimeSpec:
    """A shell as root of the directory `rootfs`, in namespaces of its own, without network; runc's `spec` says the same."""
    record = ContainerRecord(
        id="",
        name="",
        spec=ContainerSpec(hostname="orlop", tty=True, read_only_rootfs=True),
        process=ProcessDefaults(command=("sh",)),
        image_id="",
        created_ns=0,
    )
    spec = runtime_spec(record, host=probe.probe())
    assert spec.process
    process = replace(spec.process, user=RuntimeUser(), no_new_privileges=True)  # `user` by number: config.json has no names
    return replace(spec, process=process, root=Root(path="rootfs", readonly=True))
