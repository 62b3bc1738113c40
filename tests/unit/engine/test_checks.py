"""What a container may be asked to be, and what is filled in."""

import pytest

from orlop.engine import checks
from orlop.engine.defaults import merge_env, merge_process
from orlop.engine.mounts import parse_bind, resolve_mounts
from orlop.engine.names import ADJECTIVES, SURNAMES, check_name, random_name
from orlop.spec.container import ContainerSpec, HealthSpec, LogSpec, ProcessDefaults, RestartPolicy
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.mounts import MountSpec
from orlop.spec.network import PortBinding
from orlop.spec.resources import Resources

REFUSED = [
    (ContainerSpec(resources=Resources(memory_bytes=1024)), "Minimum memory limit allowed is 6MB"),
    (ContainerSpec(resources=Resources(memory_swap_bytes=1 << 30)), "You should always set the Memory limit"),
    (ContainerSpec(resources=Resources(memory_bytes=1 << 30, memory_swap_bytes=1 << 29)), "Minimum memoryswap limit"),
    (ContainerSpec(resources=Resources(cpu_nanos=1000 * 10**9)), "range of CPUs is from 0.01 to"),
    (ContainerSpec(resources=Resources(cpu_nanos=10**9, cpu_quota_us=5000)), "Nano CPUs and CPU Quota cannot both be set"),
    (ContainerSpec(resources=Resources(cpuset_cpus="8000")), "Requested CPUs are not available - requested 8000"),
    (ContainerSpec(resources=Resources(blkio_weight=5)), "Range of blkio weight is from 10 to 1000"),
    (ContainerSpec(hostname="x" * 65), "is too long"),
    (ContainerSpec(process=ProcessDefaults(working_dir="data")), "the working directory 'data' is invalid"),
    (ContainerSpec(process=ProcessDefaults(stop_signal="FOO")), "invalid signal: FOO"),
    (ContainerSpec(process=ProcessDefaults(env=("=x",))), "invalid environment variable: =x"),
    (ContainerSpec(process=ProcessDefaults(healthcheck=HealthSpec(interval_ns=10))), "Interval in Healthcheck"),
    (ContainerSpec(restart=RestartPolicy(name="sometimes")), "invalid restart policy: unknown policy 'sometimes'"),
    (ContainerSpec(restart=RestartPolicy(name="always", maximum_retries=3)), "can only be used with 'on-failure'"),
    (ContainerSpec(restart=RestartPolicy(name="always"), auto_remove=True), "can't create 'AutoRemove' container"),
    (ContainerSpec(log=LogSpec(driver="journald2")), "no log driver named 'journald2' is registered"),
    (ContainerSpec(log=LogSpec(driver="json-file", options={"colour": "red"})), "unknown log opt 'colour'"),
    (ContainerSpec(log=LogSpec(options={"max-size": "large"})), "invalid size for max-size"),
    (ContainerSpec(pid_mode="mine"), "invalid PID mode: mine"),
    (ContainerSpec(ipc_mode="container:"), "invalid IPC mode"),
    (ContainerSpec(tmpfs={"run": ""}), "mount path must be absolute"),
    (ContainerSpec(network_mode="container:x", port_bindings=(PortBinding(container_port=80),)), "conflicting options"),
    (ContainerSpec(extra_hosts=("web",)), "bad format for add-host"),
    (ContainerSpec(oom_score_adj=2000), "range for oom score adj"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED)
def test_a_wrong_spec_is_refused_in_docker_s_words(spec, message):
    with pytest.raises(InvalidArgument) as refused:
        checks.check_spec(spec)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (ContainerSpec(isolation="vm"), "vm"),
        (ContainerSpec(runtime="kata"), "kata"),
        (ContainerSpec(user_namespace_mode="auto"), "--userns"),
        (ContainerSpec(storage_options={"size": "10G"}), "size"),
    ],
)
def test_what_no_wall_can_do_is_refused_by_name(spec, name):
    with pytest.raises(NotSupported, match=name):
        checks.check_spec(spec)


def test_defaults_are_filled_in_as_inspect_shows_them():
    spec = checks.with_defaults(ContainerSpec(resources=Resources(memory_bytes=64 << 20)))
    assert spec.resources.memory_swap_bytes == 128 << 20
    assert (spec.shm_size_bytes, spec.ipc_mode, spec.network_mode) == (64 << 20, "private", "default")
    assert (spec.restart.name, spec.log.driver) == ("no", "json-file")


def test_logs_are_bounded_by_default():
    size, files = checks.log_limits(LogSpec())
    assert size * files == 100_000_000
    assert checks.log_limits(LogSpec(options={"max-size": "10m", "max-file": "3"})) == (10 << 20, 3)
    assert checks.log_limits(LogSpec(options={"max-size": "-1"})) == (0, 1)


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("sigterm", 15), ("2", 2), ("RTMIN+3", 37), ("SIGRTMAX", 64)])
def test_signals_have_many_names(name, number):
    assert checks.signal_number(name) == number


def test_the_image_s_command_goes_when_an_entrypoint_is_given():
    image = ProcessDefaults(entrypoint=("/init",), command=("serve",), env=("A=1", "B=2"), labels={"x": "1"}, user="www")
    plain = merge_process(ProcessDefaults(), image)
    assert (plain.entrypoint, plain.command, plain.user) == (("/init",), ("serve",), "www")
    own = merge_process(ProcessDefaults(entrypoint=("/bin/sh",), env=("B=3",), labels={"y": "2"}), image)
    assert (own.entrypoint, own.command, own.env, own.labels) == (("/bin/sh",), None, ("A=1", "B=3"), {"x": "1", "y": "2"})
    assert merge_process(ProcessDefaults(command=("other",)), image).entrypoint == ("/init",)
    reset = merge_process(ProcessDefaults(entrypoint=("",), command=("ls",)), image)
    assert (reset.entrypoint, reset.command) == (None, ("ls",))
    with pytest.raises(InvalidArgument, match="no command specified"):
        merge_process(ProcessDefaults(entrypoint=("",)), image)


def test_a_variable_without_a_value_is_kept_as_a_word_that_takes_it_away():
    assert merge_env(("A=1", "B=2"), ("A", "C=")) == ("A", "B=2", "C=")


def test_names():
    assert check_name("/web-1.x_y") == "web-1.x_y"
    for wrong in ("a b", "-x", "x", "é1", ""):
        with pytest.raises(InvalidArgument):
            check_name(wrong)
    first = random_name(frozenset())
    adjective, _, surname = first.partition("_")
    assert (adjective in ADJECTIVES, surname in SURNAMES) == (True, True)
    everything = {f"{one}_{two}" for one in ADJECTIVES for two in SURNAMES}
    assert random_name(everything) not in everything


@pytest.mark.parametrize("text", ["", ":/x", "/a:ro", "/a:/b:ro:rw", "/a:/b:odd", "/a:/b:ro,rw", "a b:/x", "/a:x", "/a:/"])
def test_a_bind_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_bind(text)


def test_binds_and_volumes_are_told_apart():
    bind, volume, anonymous = (parse_bind(text) for text in ("/src/:/dst/:ro,rslave", "data:/data", "/only"))
    assert (bind.kind, bind.source, bind.target, bind.read_write, bind.propagation) == ("bind", "/src", "/dst", False, "rslave")
    assert (volume.kind, volume.name, volume.mode, volume.anonymous) == ("volume", "data", "z", False)
    assert (anonymous.kind, anonymous.anonymous, len(anonymous.name)) == ("volume", True, 64)


def test_what_an_image_declares_gives_way_to_what_is_mounted():
    process = ProcessDefaults(volumes=("/data", "/other/", "/run"))
    spec = ContainerSpec(binds=("mine:/data",), tmpfs={"/run": ""})
    points = resolve_mounts(spec, process, lambda name: pytest.fail("no lookup"))
    assert {point.target: point.anonymous for point in points} == {"/data": False, "/other": True}


def test_two_mounts_on_one_target_are_refused():
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
        resolve_mounts(ContainerSpec(binds=("a1:/x", "b1:/x/")), ProcessDefaults(), lambda name: pytest.fail("no lookup"))


def test_a_missing_bind_source_is_refused_for_mount_and_made_for_v(tmp_path):
    missing = f"{tmp_path}/none"
    with pytest.raises(InvalidArgument) as refused:
        resolve_mounts(
            ContainerSpec(mounts=(MountSpec(kind="bind", source=missing, target="/x"),)), ProcessDefaults(), lambda name: None
        )
    assert str(refused.value) == f'invalid mount config for type "bind": bind source path does not exist: {missing}'
    (point,) = resolve_mounts(ContainerSpec(binds=(f"{missing}:/x",)), ProcessDefaults(), lambda name: None)
    assert point.source == missing
