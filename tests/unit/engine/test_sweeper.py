"""Chores wait for an idle moment, and the daemon's end does not wait for ever for them."""

import asyncio
import time

from orlop.engine.sweeper import Sweeper


def test_a_chore_waits_until_nobody_has_asked_for_anything() -> None:
    async def story() -> list[str]:
        done: list[str] = []
        clock = [100.0]
        sweeper = Sweeper(lambda: clock[0])

        async def chore() -> None:
            done.append("swept")

        loop = asyncio.ensure_future(sweeper.run())
        sweeper.later(chore, idle_seconds=0.01)
        clock[0] += 0.005
        sweeper.touch()
        await asyncio.sleep(0.02)
        assert done == []
        clock[0] += 0.02
        await asyncio.sleep(0.03)
        loop.cancel()
        return done

    assert asyncio.run(story()) == ["swept"]


def test_a_chore_that_waits_already_is_not_added_again_and_drain_does_all() -> None:
    async def story() -> list[str]:
        done: list[str] = []
        sweeper = Sweeper(time.monotonic)

        async def chore() -> None:
            done.append("swept")

        for _ in range(3):
            sweeper.later(chore, idle_seconds=60, name="purge")
        sweeper.later(chore, idle_seconds=60)
        await sweeper.drain()
        return done

    assert asyncio.run(story()) == ["swept", "swept"]


def test_the_end_does_not_wait_for_a_long_chore() -> None:
    async def story() -> bool:
        never = asyncio.Event()
        sweeper = Sweeper(time.monotonic)

        async def chore() -> None:
            await never.wait()

        sweeper.later(chore, idle_seconds=60)
        await asyncio.wait_for(sweeper.drain(0.05), 10)
        return never.is_set()

    assert asyncio.run(story()) is False
