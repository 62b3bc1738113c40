"""The daemon's options: command line over file over defaults, and one line for what is wrong."""

import json

import pytest

from orlop.options import OPTIONS, parse, parse_ulimit
from orlop.spec.errors import InvalidArgument
from orlop.spec.resources import Rlimit


@pytest.fixture
def parsed(tmp_path):
    """parsed(*flags, **keys of the configuration file)"""

    def run(*flags, **keys):
        file = tmp_path / "daemon.json"
        file.write_text(json.dumps({key.replace("_", "-"): value for key, value in keys.items()}))
        return parse(["--config-file", str(file), *flags], "1")

    return run


def test_defaults_are_the_documented_ones():
    options = parse([], "1")
    assert options.hosts == ("unix:///run/orlop/orlop.sock",)
    assert (str(options.data_root), str(options.pidfile)) == ("/var/lib/orlop", "/run/orlop/orlopd.pid")
    assert (options.shm_size_bytes, options.log.driver, options.network.bridge) == (64 << 20, "json-file", "")


def test_the_socket_and_pidfile_follow_the_exec_root():
    options = parse(["--exec-root", "/x"], "1")
    assert (options.hosts, str(options.pidfile)) == (("unix:///x/orlop.sock",), "/x/orlopd.pid")


def test_flags_have_dockerd_s_forms(parsed):
    options = parsed("-H", "tcp://127.0.0.1:2375", "-H=unix:///s", "-D", "--icc=false", "--label", "a=b", "--mtu=1400")
    assert options.hosts == ("tcp://127.0.0.1:2375", "unix:///s")
    assert (options.debug, options.network.icc, options.labels, options.network.mtu) == (True, False, ("a=b",), 1400)


def test_the_file_gives_what_the_command_line_does_not(parsed):
    options = parsed(
        "--debug",
        hosts=["unix:///s"],
        log_driver="json-file",
        log_opts={"max-size": "1m"},
        default_address_pools=[{"base": "10.0.0.0/8", "size": 24}],
        default_ulimits={"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}},
        insecure_registries=["10.0.0.0/8"],
        registry_mirrors=["http://m:5000"],
    )
    assert (options.hosts, options.debug, dict(options.log.options)) == (("unix:///s",), True, {"max-size": "1m"})
    assert [(str(pool.base), pool.size) for pool in options.network.address_pools] == [("10.0.0.0/8", 24)]
    assert options.ulimits == (Rlimit(name="nofile", soft=10, hard=20),)
    assert options.registries.insecure == ("10.0.0.0/8",)
    assert options.registries.mirrors == {"docker.io": ("http://m:5000",)}


@pytest.mark.parametrize(
    ("flags", "keys", "message"),
    [
        ((), {"colour": "red"}, "don't match any configuration option: colour"),
        (("--debug",), {"debug": True}, "specified both as a flag and in the configuration file: debug"),
        ((), {"debug": "yes"}, "the directive debug must be a bool"),
        ((), {"hosts": "unix:///s"}, "the directive hosts must be a list"),
        (("--log-level", "loud"), {}, "invalid log level"),
        (("--log-driver", "syslog9"), {}, "no log driver named 'syslog9'"),
        (("--log-opt", "x"), {}, "invalid --log-opt"),
        (("--bridge", "br0", "--bip", "10.0.0.1/8"), {}, "mutually exclusive"),
        (("--iptables=false",), {}, "--iptables=false is not supported"),
        (("--tlsverify", "--tlscert", "c", "--tlskey", "k"), {}, "--tlscacert must be given"),
        (("--registry-mirror", "mirror:5000"), {}, "invalid mirror"),
        (("--default-address-pool", "base=x"), {}, "address pool"),
        (("--default-ulimit", "nofile"), {}, "invalid ulimit"),
        (("--default-shm-size", "big"), {}, "invalid size for default-shm-size"),
        (("--seccomp-profile", "/nope"), {}, "cannot read the seccomp profile /nope"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(parsed, flags, keys, message):
    with pytest.raises(InvalidArgument) as refused:
        parsed(*flags, **keys)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_that_was_named_is_an_error(tmp_path):
    with pytest.raises(InvalidArgument, match="no such file"):
        parse(["--config-file", f"{tmp_path}/none"], "1")


def test_an_unknown_flag_ends_the_program(capsys):
    with pytest.raises(SystemExit):
        parse(["--colour"], "1")
    assert "--colour" in capsys.readouterr().err


def test_every_option_says_what_it_does():
    assert all(option.help for option in OPTIONS)
    assert parse_ulimit("nofile=-1") == Rlimit(name="nofile", soft=-1, hard=-1)
