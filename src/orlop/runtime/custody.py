"""The custody of all wards: how processes come in, end, are told of and cleared away; and how they pass to the next keeper.

Import-light: the keeper imports this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from orlop.kernel import process, syscalls
from orlop.runtime import holder as holding
from orlop.runtime import loop as events
from orlop.runtime.journal import Journal
from orlop.runtime.launch import Launch
from orlop.runtime.logs import LogFile
from orlop.runtime.spares import Spares
from orlop.runtime.stdio import Stdio
from orlop.runtime.wards import Book, Ward
from orlop.spec.errors import OrlopError, StartFailed, in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.kernel.cgroups import Cgroup, Layout
    from orlop.runtime.holder import Holder
    from orlop.runtime.loop import Loop
    from orlop.runtime.subscriber import Subscriber

    Reply = Callable[[dict[str, Any]], None]

_JOURNAL = "@journal"  # the holder's key for the staging pipe
_TELLING_SECONDS = 0.02  # between looks for the exit code of a process that is not our child
_MOST_LOOKS = 25
_RELEASE_SECONDS = 2.0  # so long a start waits for what is left of the container's life before


class Custody:
    """All that is known of all processes. `tell` is called with each end, `on_idle` when nothing may be left to look after."""

    def __init__(
        self, root: str, loop: Loop, layout: Layout, holder: Holder, tell: Callable[[Ward], None], on_idle: Callable[[], None]
    ) -> None:
        self._root, self._loop, self._layout, self._holder = root, loop, layout, holder
        self._tell, self._on_idle = tell, on_idle
        self._book = Book(f"{root}/wards.jsonl")
        self._spares = Spares(layout, root)
        self._early: dict[str, list[Subscriber]] = {}  # attached to what is not started yet
        self._ending: dict[str, Ward] = {}  # has ended, but something of it is left: by container
        self._statuses: dict[str, int] = {}  # what the holder has reaped
        self.wards: dict[str, Ward] = {}
        self._held = holder.inherit()
        staging = self._held.pop(_JOURNAL, holding.Held(0)).fds
        self._journal = Journal(f"{root}/journal", (staging["reader"], staging["writer"]) if len(staging) == 2 else None)
        self._hold_journal()

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs and nothing is being cleared away. Ends that nobody has heard of may be in the book."""
        return not self._ending and all("exit" in ward.document for ward in self.wards.values())

    @property
    def is_forgotten(self) -> bool:
        """Whether the book is empty too."""
        return not self._book.documents

    def reap_strangers(self) -> bool:
        """Reap what became our child by its parent's death. Our own are waited for by their pidfds."""
        ours = {ward.pid for ward in self.wards.values()}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in ours:
                os.waitpid(ended.si_pid, os.WNOHANG)
        return True

    # --- in ---

    def new(self, document: dict[str, Any]) -> Ward:
        """A ward that is about to be started."""
        return Ward(self._book, document, self._layout)

    def clear_for(self, container: str) -> None:
        """The container is started again: nothing may be left of its life before."""
        if container in self.wards:
            self.forget(self.wards[container])
        if ward := self._ending.get(container):
            deadline = time.monotonic() + _RELEASE_SECONDS
            while not self._release(ward) and time.monotonic() < deadline:
                time.sleep(0.001)
            if ward.stdio:  # a client that does not read
                ward.stdio.close()

    def launch(
        self,
        ward: Ward,
        request: dict[str, Any],
        reply: Reply,
        prepare: Callable[[], tuple[Cgroup, LogFile | None]],
        pidfd: int,
    ) -> None:
        """Start a ward's process: `prepare` gives its group and log. What comes of it is told later.

        Raises StartFailed; then nothing is left.
        """
        failure = request["plan"]["failure"]
        self.wards[ward.key] = ward
        try:
            ward.create()
            group, log = prepare()
            launch = Launch(self._loop, self._make_stdio(ward, log), self._spares, tty=request["tty"], stdin=request["stdin"])
            launch.run(
                request["plan"],
                group,
                pidfd,
                lambda: self._started(ward, launch, failure, reply),
                lambda message, code: self._failed(ward, message, code, reply),
            )
        except (OSError, OrlopError) as error:
            self._abandon(ward)
            raise StartFailed(f"{failure}: {in_words(error)}") from error
        ward.pid = launch.pid
        for subscriber in self._early.pop(ward.key, []):
            if ward.stdio:
                ward.stdio.attach(subscriber)

    def _started(self, ward: Ward, launch: Launch, failure: str, reply: Reply) -> None:
        try:
            ward.update(pid=launch.pid, ticks=launch.ticks, pipes=launch.inodes)
        except OSError as error:
            launch.kill()
            return self._failed(ward, f"{failure}: cannot write down its state: {in_words(error)}", 128, reply)
        ward.pidfd = launch.pidfd
        with contextlib.suppress(OSError):  # it has ended already
            ward.mounts = os.open(f"/proc/{launch.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)  # see _release
        reply({"pid": launch.pid, "ticks": launch.ticks})
        self._loop.watch(ward.pidfd, events.READ, lambda mask: self._on_end(ward))
        self._loop.soon(lambda: self._hold(ward))
        self._loop.lazily(self._spares.fill)
        if ward.removers:
            self.kill(ward, signal.SIGKILL)
        return None

    def _failed(self, ward: Ward, message: str, exit_code: int, reply: Reply) -> None:
        self._abandon(ward)
        reply({"error": message, "kind": "StartFailed", "exit_code": exit_code})

    def _make_stdio(self, ward: Ward, log: LogFile | None) -> Stdio:
        tty, stdin_once = ward.document["tty"], ward.document["stdin_once"]
        ward.stdio = Stdio(self._loop, self._journal, tty=tty, stdin_once=stdin_once, log=log, tails=f"{self._root}/{ward.key}")
        ward.stdio.closed = lambda: self._on_silence(ward)
        return ward.stdio

    def _abandon(self, ward: Ward) -> None:
        """Nothing is left of what could not be started."""
        if ward.stdio:
            ward.stdio.close()
        for subscriber in self._early.pop(ward.key, []):
            subscriber.drop()
        self.forget(ward)
        self._end_lazily(ward, at_once=True)

    # --- meanwhile ---

    def attach(self, key: str, subscriber: Subscriber) -> None:
        """Connect a client, now or when the process is started."""
        ward = self.wards.get(key)
        if ward is None or ("exit" in ward.document and not ward.is_exec):  # it will be started (again)
            self._early.setdefault(key, []).append(subscriber)
            subscriber.on_gone = lambda: self._forget_early(key, subscriber)
        elif ward.stdio:
            ward.stdio.attach(subscriber)
        else:
            subscriber.drop()

    def _forget_early(self, key: str, subscriber: Subscriber) -> None:
        if subscriber in (waiting := self._early.get(key, [])):
            waiting.remove(subscriber)
            if not waiting:
                del self._early[key]

    def kill(self, ward: Ward, number: int) -> None:
        """Send a signal to a process that runs."""
        if number == signal.SIGKILL and self._layout.version == 1:
            ward.group.thaw()  # on version 1 not even SIGKILL reaches who is frozen
        with contextlib.suppress(ProcessLookupError):  # its end is about to be told
            signal.pidfd_send_signal(ward.pidfd, number)

    # --- out ---

    def remove(self, container: str, removed: Callable[[], None]) -> None:
        """Kill and free what is left of a container; then call back."""
        for subscriber in self._early.pop(container, [])[:]:
            subscriber.drop()
        ward = self.wards.get(container) or self._ending.get(container)
        if ward is None:
            return removed()
        ward.removers.append(removed)
        if ward.runs:
            self.kill(ward, signal.SIGKILL)
        self._finish_removal(ward)
        return None

    def _finish_removal(self, ward: Ward) -> None:
        """Once all of it is free, nothing is remembered either."""
        if not ward.released or not ward.removers:
            return
        for other in [other for other in self.wards.values() if other.document["container"] == ward.document["container"]]:
            if other.stdio:
                other.stdio.close()
            self.forget(other)
        for removed in ward.removers:
            removed()
        ward.removers = []

    def forget(self, ward: Ward) -> None:
        """The engine knows of its end."""
        ward.forget()
        if self.wards.get(ward.key) is ward:
            del self.wards[ward.key]

    def _on_end(self, ward: Ward) -> None:
        try:
            ended = os.waitid(os.P_PIDFD, ward.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # adopted: the child of a keeper that is dead
            self._loop.forget(ward.pidfd)
            return self._find_status(ward, 0)
        if ended:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
            self._loop.forget(ward.pidfd)
            self._ended(ward, code)
        return None

    def _find_status(self, ward: Ward, looks: int) -> None:
        """The holder tells it, or the kernel before or after somebody has reaped the process; or else it stays unknown."""
        status = self._statuses.pop(ward.key, None)
        if status is None:
            status = process.zombie_status(ward.pid, ward.document["ticks"])
        if status is None and ward.pidfd >= 0:
            status = syscalls.pidfd_wait_status(ward.pidfd)
        if status is None and looks < _MOST_LOOKS:
            self._loop.after(_TELLING_SECONDS, lambda: self._find_status(ward, looks + 1))
            return
        code = None if status is None else os.waitstatus_to_exitcode(status)
        self._ended(ward, code if code is None or code >= 0 else 128 - code)

    def _ended(self, ward: Ward, code: int | None) -> None:
        """Write the end down, with all output in the log before it; tell the daemon; clear away later."""
        if ward.stdio:
            ward.stdio.process_ended()
        oom_killed = not ward.is_exec and ward.group.oom_kills() > 0
        with contextlib.suppress(OSError):  # a full disk: the daemon hears of it all the same
            ward.update(exit={"code": code, "oom_killed": oom_killed, "ended_ns": time.time_ns()})
        self._tell(ward)
        self._loop.soon(self._spares.fill)  # while the client ends
        self._end_lazily(ward)

    def _end_lazily(self, ward: Ward, *, at_once: bool = False) -> None:
        if not ward.is_exec:
            self._ending[ward.document["container"]] = ward
        if not at_once or not self._release(ward):
            self._loop.lazily(lambda: self._release(ward))

    def _release(self, ward: Ward) -> bool:
        """Free what the kernel keeps, in an idle moment. Closing a mount namespace is costly: it was held open until now."""
        if ward.released:
            return True
        ward.close()
        if not ward.is_exec and not (ward.group.kill() and ward.group.remove()):
            return False
        ward.released = True
        self._settle(ward)
        self._finish_removal(ward)
        return True

    def _on_silence(self, ward: Ward) -> None:
        self._holder.drop(ward.key)
        self._settle(ward)

    def _settle(self, ward: Ward) -> None:
        """Called when it is released, and when all its output is delivered: whatever comes last."""
        if ward.released and (not ward.stdio or ward.stdio.is_closed):
            if self._ending.get(ward.document["container"]) is ward:
                del self._ending[ward.document["container"]]
            self._on_idle()

    # --- the holder ---

    def _hold(self, ward: Ward) -> None:
        """Have the holder keep what must outlive us."""
        stdio, key = ward.stdio, ward.key
        if stdio and ward.runs:
            self._holder.hold(key, ward.pid, {"pidfd": ward.pidfd, **stdio.descriptors()})
            stdio.released = lambda name: self._holder.drop(key, name)

    def _hold_journal(self) -> None:
        reader, writer = self._journal.staging
        self._holder.hold(_JOURNAL, 0, {"reader": reader, "writer": writer})

    def hear(self) -> None:
        """Take in what the holder has reaped. Raises ConnectionError when it is dead."""
        for key, status in self._holder.reaped():
            self._statuses[key] = status

    def hand_over(self, holder: Holder) -> None:
        """From now on a new holder keeps everything."""
        self._holder = holder
        self._hold_journal()
        for ward in self.wards.values():
            self._hold(ward)

    # --- what a keeper before this one left ---

    def adopt_all(self) -> None:
        """Take over every process in the book; clear away what was about to be started."""
        for document in list(self._book.documents.values()):
            ward = self.new(document)
            entry = self._held.pop(ward.key, holding.Held(0))
            if "pid" not in document:
                self._abandon(ward)
            elif "exit" not in document:
                self._adopt(ward, entry)
                continue
            else:
                self.wards[ward.key] = ward
                self._end_lazily(ward)
            _close_all(entry)
            self._holder.drop(ward.key)
        for key, entry in self._held.items():
            _close_all(entry)
            self._holder.drop(key)
        self._held = {}

    def _adopt(self, ward: Ward, entry: holding.Held) -> None:
        """Take back a process: its pidfd, its pipes, its log."""
        self.wards[ward.key] = ward
        ward.pid = ward.document["pid"]
        fds = entry.fds or ward.reclaim()
        ward.pidfd = fds.pop("pidfd", -1)
        if ward.pidfd < 0:
            ward.pidfd = ward.open_pidfd()
        self._make_stdio(ward, _reopen(ward.document["log"])).adopt(fds)
        self._hold(ward)
        if entry.status is not None:
            self._statuses[ward.key] = entry.status
        if ward.pidfd >= 0:
            self._loop.watch(ward.pidfd, events.READ, lambda mask: self._on_end(ward))
        else:
            self._loop.soon(lambda: self._find_status(ward, _MOST_LOOKS))


def _reopen(log: dict[str, Any] | None) -> LogFile | None:
    """The log of a process that is adopted. Without its directory the process goes on, unlogged."""
    try:
        return LogFile(**log) if log else None
    except OSError as error:
        print(f"cannot log any more: {error}", file=sys.stderr)
        return None


def _close_all(entry: holding.Held) -> None:
    for fd in entry.fds.values():
        os.close(fd)
