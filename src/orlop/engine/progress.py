"""A story told while it happens: it runs beside its listener and is cancelled when the listener goes away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from orlop.engine.parts import Spawn
from orlop.spec.errors import OrlopError
from orlop.spec.progress import ProgressEvent

Tell = Callable[[ProgressEvent], None]
Story = Callable[[Tell], Awaitable[None]]


async def told(story: Story, spawn: Spawn) -> AsyncIterator[ProgressEvent]:
    """The messages of a story. What fails before the first message is raised; later it becomes the last message."""
    queue: asyncio.Queue[ProgressEvent | OrlopError | None] = asyncio.Queue()
    running: list[asyncio.Task[None]] = []

    async def run() -> None:
        if task := asyncio.current_task():
            running.append(task)
        try:
            await story(queue.put_nowait)
        except OrlopError as error:
            queue.put_nowait(error)
        except OSError as error:
            queue.put_nowait(OrlopError(str(error)))
        finally:
            queue.put_nowait(None)

    spawn(run())
    begun = False
    try:
        while (message := await queue.get()) is not None:
            if isinstance(message, OrlopError):
                if not begun:
                    raise message
                message = ProgressEvent(error=str(message))
            begun = True
            yield message
    finally:
        for task in running:
            task.cancel()


async def side_by_side(*jobs: Awaitable[None]) -> None:
    """Wait for all. When one fails the others are cancelled, and the first failure is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(_coroutine(job))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _coroutine(job: Awaitable[None]) -> None:
    await job
