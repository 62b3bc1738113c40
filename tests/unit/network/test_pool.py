"""Which namespaces are kept ready, and which wait for their end."""

import os

from orlop.network.sandboxes import Pool, Sandbox


class Route:
    def close(self) -> None:
        pass


def sandbox(bridge: str) -> Sandbox:
    return Sandbox(os.open("/dev/null", os.O_RDONLY), Route(), plugged=bridge)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_some_are_kept_ready_for_bridges_that_were_used():
    pool = Pool(2)
    assert list(pool.lacking()) == []
    assert pool.take("a") is None
    assert list(pool.lacking()) == ["a"]
    one, two = sandbox("a"), sandbox("a")
    pool.put(one)
    assert list(pool.lacking()) == ["a"]
    pool.put(two)
    assert list(pool.lacking()) == []
    assert pool.take("a") is one
    pool.close()
    assert not is_open(two.fd)
    one.close()


def test_only_those_used_last_are_served():
    pool = Pool(1)
    first = sandbox("0")
    for number in range(4):
        pool.take(str(number))
    pool.put(first)
    pool.take("4")
    assert not is_open(first.fd)
    assert list(pool.lacking()) == ["1", "2", "3", "4"]


def test_one_that_comes_too_late_is_ended():
    pool = Pool(1)
    pool.take("a")
    pool.forget("a")
    late = sandbox("a")
    pool.put(late)
    assert not is_open(late.fd)


def test_without_a_pool_nothing_is_kept():
    pool = Pool(0)
    assert pool.take("a") is None
    assert list(pool.lacking()) == []


def test_released_ones_end_together():
    pool = Pool(1)
    pool.release(-1)
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    for fd in fds:
        pool.release(fd)
    assert pool.released == 3
    pool.destroy_released()
    assert pool.released == 0
    assert not any(map(is_open, fds))
