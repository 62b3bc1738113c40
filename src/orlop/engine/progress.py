"""A story told while it happens: it runs beside its listener and is cancelled when the listener goes away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from orlop.engine.parts import Spawn
from orlop.spec.errors import OrlopError, in_words
from orlop.spec.progress import ProgressEvent

Tell = Callable[[ProgressEvent], None]
Story = Callable[[Tell], Awaitable[None]]


async def told(story: Story, spawn: Spawn) -> AsyncIterator[ProgressEvent]:
    """The messages of a story. What fails before the first message is raised; later it becomes the last message."""
    teller = _Teller(story)
    spawn(teller.run())
    begun = False
    try:
        while (message := await teller.queue.get()) is not None:
            if isinstance(message, OrlopError):
                if not begun:
                    raise message
                message = ProgressEvent(error=str(message))
            begun = True
            yield message
    finally:
        teller.stop()


class _Teller:
    """A story on its way: its messages, at last how it failed, then None."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._task: asyncio.Task[None] | None = None
        self._unwanted = False
        self.queue: asyncio.Queue[ProgressEvent | OrlopError | None] = asyncio.Queue()

    def stop(self) -> None:
        """Nobody listens any more."""
        self._unwanted = True
        if self._task:
            self._task.cancel()

    async def run(self) -> None:
        self._task = asyncio.current_task()
        if self._unwanted:
            return
        try:
            await self._story(self.queue.put_nowait)
        except OrlopError as error:
            self.queue.put_nowait(error)
        except OSError as error:
            self.queue.put_nowait(OrlopError(in_words(error)))
        except BaseException as error:  # the listener must not take silence for success
            self.queue.put_nowait(OrlopError(f"the operation was broken off: {type(error).__name__}"))
            raise
        finally:
            self._task = None
            self.queue.put_nowait(None)


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
