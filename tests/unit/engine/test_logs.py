"""Reading logs that the real writer wrote: tails, times, rotations while following, bytes that are no text."""

import asyncio
import itertools
import time
from dataclasses import replace

import pytest

from orlop.engine.logs import log_files, read_log
from orlop.engine.roster import Container
from orlop.runtime.logs import LogFile
from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults, Status
from orlop.spec.streams import LogQuery
from orlop.wire.frames import FrameReader

START = 1_700_000_000 * 10**9


class Log:
    """A log that is being written: a line a second."""

    def __init__(self, path, **limits):
        self.path, self.file, self.times = str(path), LogFile(str(path), **limits), itertools.count()

    def write(self, data, stream="stdout"):
        self.file.make_room()
        self.file.append(self.file.format(stream, data, START + next(self.times) * 10**9))


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log")


def container(*, tty=False, status=Status.EXITED):
    spec = ContainerSpec(tty=tty)
    return Container(
        ContainerRecord(id="a" * 64, name="web", spec=spec, process=ProcessDefaults(), image_id="", created_ns=1, status=status)
    )


def read(log, query=None, **how):
    """All frames, as (stream, bytes)."""

    async def collect():
        return b"".join([chunk async for chunk in read_log(log.path, container(**how), query or LogQuery())])

    found = asyncio.run(collect())
    return found if how.get("tty") else list(FrameReader().feed(found))


def test_lines_come_in_frames_of_their_stream(log):
    log.write(b"one\n")
    log.write(b"two\n", "stderr")
    assert read(log) == [(1, b"one\n"), (2, b"two\n")]
    assert read(log, LogQuery(stderr=False)) == [(1, b"one\n")]


def test_a_tty_s_log_is_raw(log):
    log.write(b"one\r\ntwo")
    assert read(log, tty=True) == b"one\r\ntwo"


def test_bytes_that_are_no_text_come_back_as_they_were(log):
    odd = bytes(range(256)).replace(b"\n", b"") + "ÄÖ€😀".encode() + b'"\\\n'
    log.write(odd)
    assert b"".join(data for _, data in read(log)) == odd


@pytest.mark.parametrize(("tail", "first"), [(0, None), (1, 9), (3, 7), (10, 0), (99, 0)])
def test_the_tail_is_counted_in_lines(log, tail, first):
    for number in range(10):
        log.write(b"%d\n" % number)
    wanted = [b"%d\n" % number for number in range(first, 10)] if first is not None else []
    assert [data for _, data in read(log, LogQuery(tail=tail))] == wanted


def test_the_tail_reaches_into_rotated_files(tmp_path):
    log = Log(tmp_path / "log", max_bytes=300, max_files=5)
    for number in range(40):
        log.write(b"%02d\n" % number)
    assert len(log_files(log.path)) == 5
    every = [data for _, data in read(log)]
    assert every == [b"%02d\n" % number for number in range(40 - len(every), 40)]
    for tail in range(len(every) + 1):
        assert [data for _, data in read(log, LogQuery(tail=tail))] == every[len(every) - tail :]


def test_since_and_until_bound_the_lines_and_timestamps_show_them(log):
    for number in range(5):
        log.write(b"%d\n" % number)
    query = LogQuery(since_ns=START + 2 * 10**9, until_ns=START + 3 * 10**9, timestamps=True)
    assert [data for _, data in read(log, query)] == [
        b"2023-11-14T22:13:22.000000000Z 2\n",
        b"2023-11-14T22:13:23.000000000Z 3\n",
    ]


def test_details_show_the_attributes(tmp_path):
    log = Log(tmp_path / "log", attributes={"a": "1", "b": "2"})
    log.write(b"x\n")
    assert read(log, LogQuery(details=True)) == [(1, b"a=1,b=2 x\n")]


def test_a_line_that_was_cut_short_is_skipped(log):
    log.write(b"one\n")
    with open(log.path, "ab") as file:
        file.write(b'{"log":"tw\n')
    log.write(b"three\n")
    assert [data for _, data in read(log)] == [b"one\n", b"three\n"]


def test_no_file_is_no_output(tmp_path):
    class Nothing:
        path = str(tmp_path / "log")

    assert read(Nothing) == []


def test_following_misses_nothing_over_rotations_and_ends_with_the_container(tmp_path):
    log = Log(tmp_path / "log", max_bytes=2000, max_files=50)
    count = 2000

    async def inside():
        followed = container(status=Status.RUNNING)
        seen = []

        async def follow():
            reader, waiting = FrameReader(), b""
            async for chunk in read_log(log.path, followed, LogQuery(follow=True)):
                waiting += b"".join(data for _, data in reader.feed(chunk))
            seen.extend(waiting.split())

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(follow())
            for number in range(count):
                log.write(b"%d\n" % number)
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            followed.record = replace(followed.record, status=Status.EXITED)
            followed.tell_end()
        return seen

    assert asyncio.run(inside()) == [b"%d" % number for number in range(count)]


def test_following_ends_at_until(log):
    async def inside():
        query = LogQuery(follow=True, until_ns=time.time_ns() + 10**8)
        async with asyncio.timeout(5):
            return [chunk async for chunk in read_log(log.path, container(status=Status.RUNNING), query)]

    log.write(b"old\n")
    assert len(asyncio.run(inside())) == 1
