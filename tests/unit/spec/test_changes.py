"""`--change`: Dockerfile instructions over an image's defaults."""

import pytest

from orlop.spec.changes import apply_changes
from orlop.spec.container import HealthSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument


def _after(*lines: str, **before: object) -> ProcessDefaults:
    return apply_changes(ProcessDefaults(**before), lines)  # type: ignore[arg-type]


def test_commands_in_both_forms() -> None:
    assert _after('CMD ["a", "b c"]').command == ("a", "b c")
    assert _after("CMD echo $HOME").command == ("/bin/sh", "-c", "echo $HOME")
    assert _after('SHELL ["/bin/bash", "-lc"]', "CMD x").command == ("/bin/bash", "-lc", "x")
    assert _after("CMD []").command == ()


def test_an_entrypoint_resets_a_command_that_was_inherited() -> None:
    assert _after('ENTRYPOINT ["/e"]', command=("old",)) == ProcessDefaults(entrypoint=("/e",))
    assert _after("CMD new", 'ENTRYPOINT ["/e"]', command=("old",)).command == ("/bin/sh", "-c", "new")


def test_variables_and_quotes() -> None:
    assert _after('ENV A=1 B="two words" C=$A D=\'$A\' E=\\$A', "ENV F ${A}${X:-none}${A:+ set} rest", env=("Z=0",)).env == (
        "Z=0", "A=1", "B=two words", "C=", "D=$A", "E=$A", "F=1none set rest",
    )  # fmt: skip
    assert _after("ENV A=new", env=("A=old", "B=x")).env == ("A=new", "B=x")
    assert _after("ENV D=/srv", "WORKDIR $D", "WORKDIR www", "USER ${U:-web}", "VOLUME $D/data /x").working_dir == "/srv/www"


def test_labels_ports_volumes() -> None:
    after = _after('LABEL a="b c" d=e', "EXPOSE 80 443/tcp 53/udp 9000-9001", 'VOLUME ["/d", "/e"]', "STOPSIGNAL SIGINT")
    assert after.labels == {"a": "b c", "d": "e"}
    assert after.exposed_ports == ("80/tcp", "443/tcp", "53/udp", "9000/tcp", "9001/tcp")
    assert after.volumes == ("/d", "/e")
    assert after.stop_signal == "SIGINT"


def test_health_checks() -> None:
    after = _after('HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD ["curl", "x"]')
    expected = HealthSpec(test=("CMD", "curl", "x"), interval_ns=5 * 10**9, timeout_ns=60 * 10**9, retries=3)
    assert after.healthcheck == expected
    assert _after("HEALTHCHECK CMD curl x").healthcheck == HealthSpec(test=("CMD-SHELL", "curl x"))
    assert _after("healthcheck none").healthcheck == HealthSpec(test=("NONE",))


def test_comments_blanks_and_several_lines_in_one() -> None:
    assert _after("# no\n\nUSER a\n  USER b  ").user == "b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV A", "ENV must have two arguments"),
        ("LABEL =x", "LABEL names can not be blank"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE 90-80", "invalid containerPort"),
        ("EXPOSE http", "invalid containerPort"),
        ("USER a b", "USER requires exactly one argument"),
        ('ENV A="x', "looking for matching"),
        ("ENV A=${B", "missing '}'"),
        ("ENV A=${B!}", "unsupported modifier"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed"),
        ("HEALTHCHECK --interval=0.1ms CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --frequency=1s CMD x", "Unknown flag: frequency"),
        ("HEALTHCHECK RUN x", "Unknown type"),
        ("SHELL /bin/sh", "SHELL requires the arguments to be in JSON form"),
        ("STOPSIGNAL 1234", "Invalid signal"),
    ],
)
def test_what_is_wrong_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _after(line)
    assert message in str(caught.value)
