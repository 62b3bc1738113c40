"""Records survive reopening, files appear whole, a lock has one owner."""

import os
import sqlite3
from dataclasses import replace

import pytest

from orlop.spec.container import ContainerRecord, ContainerSpec, Health, HealthProbe, ProcessDefaults, Status
from orlop.spec.errors import Conflict, Corrupt, Unavailable
from orlop.spec.mounts import MountPoint
from orlop.state import documents
from orlop.state.atomic import write_file
from orlop.state.database import RESERVE_BYTES, Database
from orlop.state.locks import FileLock
from orlop.state.records import Records


def record(**changes):
    base = ContainerRecord(id="a" * 64, name="web", spec=ContainerSpec(), process=ProcessDefaults(), image_id="", created_ns=1)
    return replace(base, **changes)


def test_a_record_reads_back_equal_after_the_database_was_reopened(tmp_path):
    probe = HealthProbe(started_ns=1, ended_ns=2, exit_code=0, output="ok")
    kept = record(
        status=Status.PAUSED,
        mounts=(MountPoint(kind="bind", target="/x"),),
        health=Health(probes=(probe,)),
        process=ProcessDefaults(entrypoint=(), labels={"a": "b"}),
    )
    database = Database(tmp_path / "state.db")
    Records(database, "containers", ContainerRecord).save(kept.id, kept)
    database.close()
    assert Records(Database(tmp_path / "state.db"), "containers", ContainerRecord).load() == {kept.id: kept}


def test_nouns_do_not_mix_and_delete_forgets(tmp_path):
    database = Database(tmp_path / "state.db")
    one, two = Records(database, "one", dict), Records(database, "two", dict)
    one.save("k", {"v": 1})
    two.save("k", {"v": 2})
    one.delete("k")
    one.delete("never was")
    assert (one.load(), two.load()) == ({}, {"k": {"v": 2}})


def test_a_write_survives_without_close(tmp_path):
    if not (child := os.fork()):
        Records(Database(tmp_path / "state.db"), "n", dict).save("k", {"v": 1})
        os._exit(0)
    os.waitpid(child, 0)
    assert Records(Database(tmp_path / "state.db"), "n", dict).load() == {"k": {"v": 1}}


def test_checkpoint_moves_the_log_and_dirty_tells_when_one_is_due(tmp_path):
    database = Database(tmp_path / "state.db")
    records = Records(database, "n", dict)
    assert not database.is_dirty
    records.save("k", {"v": 1})
    assert database.is_dirty
    database.mark_clean()
    database.checkpoint()
    assert not database.is_dirty
    assert sqlite3.connect(f"file:{tmp_path}/state.db?immutable=1", uri=True).execute(
        "SELECT count(*) FROM records"
    ).fetchone() == (1,)


@pytest.fixture
def full(tmp_path):
    """A database that cannot grow any more: to SQLite that is the same as a disk without room."""
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


def fill(database):
    """How many records of some 5 KB there was room for."""
    database.execute("PRAGMA max_page_count=1")  # takes the present size
    for number in range(1000):
        try:
            Records(database, "filler", bytes).save(str(number), bytes(4000))
        except Unavailable as error:
            assert str(error).endswith("state.db: no space left on device")  # noqa: PT017
            return number
    raise AssertionError("it never was full")


def test_a_full_disk_refuses_what_is_new_and_keeps_what_happened_for_later(tmp_path, full):
    records = Records(full, "n", dict)
    records.save("old", {"v": 1})
    records.save("removed", {"v": 1})
    fill(full)
    big = {"v": "x" * 9000}
    with pytest.raises(Unavailable, match="no space left on device"):
        records.save("new", big)
    records.save("old", big, can_wait=True)
    records.save("ended", {"v": "y" * 9000}, can_wait=True)
    records.save("ended", big, can_wait=True)
    records.delete("removed")
    assert records.load().get("ended") is None
    full.catch_up()
    full.execute("PRAGMA max_page_count=100000")
    full.catch_up()
    assert records.load() == {"old": big, "ended": big}
    assert Records(Database(tmp_path / "state.db"), "n", dict).load() == {"old": big, "ended": big}


def test_what_is_written_in_time_stands_over_what_waited(full):
    records = Records(full, "n", dict)
    fill(full)
    records.save("k", {"v": "x" * 9000}, can_wait=True)
    full.execute("PRAGMA max_page_count=100000")
    records.save("k", {"v": 2})
    full.catch_up()
    assert records.load() == {"k": {"v": 2}}


def test_some_room_is_reserved_for_a_disk_that_is_full(full):
    assert fill(full) > RESERVE_BYTES // 3 // 4000


def test_a_file_that_is_no_database_is_corrupt(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(Corrupt, match=r"state\.db"):
        Database(tmp_path / "state.db")


def test_a_newer_schema_is_refused(tmp_path):
    Database(tmp_path / "state.db").execute("PRAGMA user_version=99")
    with pytest.raises(Corrupt, match="version 99"):
        Database(tmp_path / "state.db")


def test_a_document_of_an_older_version_gets_the_defaults_of_new_fields():
    assert documents.decode(b'{"kind":"bind","target":"/x","gone":1}', MountPoint) == MountPoint(kind="bind", target="/x")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kind":1,"target":"/x"}', b"{}"])
def test_a_document_that_does_not_fit_is_corrupt(content):
    with pytest.raises(Corrupt):
        documents.decode(content, MountPoint)


def test_write_file_replaces_whole_with_its_mode(tmp_path):
    target = tmp_path / "f"
    write_file(target, b"one", 0o600)
    write_file(target, b"two", 0o640, sync=True)
    assert (target.read_bytes(), target.stat().st_mode & 0o777, os.listdir(tmp_path)) == (b"two", 0o640, ["f"])


def test_write_file_leaves_nothing_beside_when_it_fails(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path / "d", b"x")
    assert os.listdir(tmp_path) == ["d"]


def test_a_lock_has_one_owner_and_tells_who(tmp_path):
    lock = FileLock(tmp_path / "pid")
    with pytest.raises(Conflict, match=str(os.getpid())):
        FileLock(tmp_path / "pid")
    lock.release()
    FileLock(tmp_path / "pid").release()
    assert os.listdir(tmp_path) == []
