"""The keeper: fork server and monitor of every container, one thread, nothing but epoll and system calls.

It starts processes (launch.py), waits for their ends (pidfds), moves their output to logs and clients (stdio.py), and tells the
daemon. It outlives the daemon; when it is killed itself, the holder starts another one, which adopts everything.
Import-light: no dataclasses, no logging, no asyncio.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
import traceback

from orlop.kernel import process, syscalls
from orlop.kernel.cgroups import Cgroup, layout
from orlop.kernel.terminal import set_size
from orlop.runtime import holder as holding
from orlop.runtime import loop as events
from orlop.runtime.client import Client
from orlop.runtime.journal import Journal
from orlop.runtime.launch import Launch
from orlop.runtime.logs import LogFile
from orlop.runtime.loop import Loop
from orlop.runtime.spares import Spares
from orlop.runtime.stdio import Stdio
from orlop.runtime.subscriber import Subscriber
from orlop.runtime.wards import Book, Ward, key_of
from orlop.spec.errors import Conflict, NotFound, OrlopError, StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from orlop.runtime.holder import Holder

_JOURNAL = "@journal"  # the holder's key for the staging pipe
_LINGER_SECONDS = 1.0  # without a daemon and without containers the keeper ends
_TELLING_SECONDS = 0.02  # between looks for the exit code of a process that is not our child
_MOST_LOOKS = 25


class Keeper:
    """All that is known of all containers."""

    def __init__(self, exec_root: str, holder: Holder) -> None:
        self._root, self._holder = exec_root, holder
        self._book = Book(f"{exec_root}/wards.jsonl")
        self._layout = layout()
        with contextlib.suppress(FileNotFoundError), open(f"{exec_root}/cgroups") as file:  # parents that we have made
            self._layout.made.update(file.read().split("\n"))
        self._loop = Loop()
        self._spares = Spares(self._layout, exec_root)
        self._wards: dict[str, Ward] = {}
        self._clients: list[Client] = []
        self._early: dict[str, list[Subscriber]] = {}  # attached to what is not started yet
        self._ending: dict[str, Ward] = {}  # has ended, but something of it is left: by container
        self._reaping = False
        self._statuses: dict[str, int] = {}  # what the holder has reaped
        held = holder.inherit()
        staging = held.pop(_JOURNAL, holding.Held(0)).fds
        self._journal = Journal(f"{exec_root}/journal", (staging["reader"], staging["writer"]) if len(staging) == 2 else None)
        self._adopt_all(held)
        self._hold_journal()

    # --- the loop ---

    def serve(self) -> None:
        """Until there is nothing left to look after."""
        listener = socket.socket(fileno=holding.LISTENER)
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), events.READ, lambda mask: self._accept(listener))
        self._watch_holder()
        children = holding.children_pipe()
        self._loop.watch(children, events.READ, lambda mask: self._on_child(children))
        with open(f"{self._root}/keeper.pid.new", "w") as file:
            file.write(f"{os.getpid()}\n")
        os.rename(f"{self._root}/keeper.pid.new", f"{self._root}/keeper.pid")
        self._quit_if_idle()
        self._loop.run()
        for parent in sorted(self._layout.made, reverse=True):
            with contextlib.suppress(OSError):
                Cgroup(parent, self._layout).remove()
        book = () if self._book.documents else ("wards.jsonl",)  # ends that no daemon has heard of wait for the next keeper
        for name in ("keeper.pid", "cgroups", "journal", *book):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._root}/{name}")
        self._holder.farewell()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            self._clients.append(Client(self._loop, connection, self._on_request, self._on_client_gone))

    def _on_client_gone(self, client: Client) -> None:
        self._clients.remove(client)
        self._quit_if_idle()

    def _quit_if_idle(self) -> None:
        if not self._busy:
            self._loop.after(_LINGER_SECONDS, lambda: None if self._busy else self._loop.stop())

    @property
    def _busy(self) -> bool:
        return bool(self._clients or self._ending) or any("exit" not in ward.document for ward in self._wards.values())

    def _on_child(self, children: int) -> None:
        """Children are waited for by their pidfds. Those of others that became ours are reaped here, when there is time."""
        os.read(children, 4096)
        if not self._reaping:
            self._reaping = True
            self._loop.lazily(self._reap_strangers)

    def _reap_strangers(self) -> bool:
        self._reaping = False
        ours = {ward.pid for ward in self._wards.values()}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in ours:
                os.waitpid(ended.si_pid, os.WNOHANG)
        return True

    # --- requests ---

    def _on_request(self, client: Client, request: dict[str, Any], fds: list[int]) -> None:
        def reply(answer: dict[str, Any]) -> None:
            client.send({"id": request.get("id"), **answer})

        try:
            VERBS[request["verb"]](self, request, fds, reply)
            if request["verb"] == "hello":
                client.listens = True
        except OrlopError as error:
            reply(failure(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply({"error": f"cannot {request.get('verb')}: {error}", "kind": "OrlopError"})

    def _running(self, request: dict[str, Any]) -> Ward:
        container, exec_id = request["container"], request.get("exec", "")
        ward = self._wards.get(key_of(container, exec_id))
        if ward is None or not ward.runs:
            raise NotFound("exec instance" if exec_id else "container", exec_id or container)
        return ward

    def _hello(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        """All that runs, and all that has ended and was not acknowledged."""
        reply({"pid": os.getpid(), "wards": [ward.document for ward in self._wards.values() if "pid" in ward.document]})

    def _start(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        plan, key = request["plan"], request["container"]
        if (old := self._wards.get(key)) is not None:
            if "exit" not in old.document:
                raise Conflict(f"container {key} is running already")
            self._forget(old)
        if key in self._ending:
            self._release_now(self._ending[key])
        document = {name: request[name] for name in ("container", "tty", "stdin_once", "log", "confinement")}
        ward = Ward(self._book, {**document, "exec": "", "cgroup": plan["cgroup"]["path"]}, self._layout)
        ward.create()
        try:
            self._make_group(ward.group)
            ward.group.apply(plan["cgroup"]["values"])
            log = LogFile(**request["log"]) if request["log"] else None
            self._launch(ward, request, log, reply, ward.group)
        except (OSError, OrlopError) as error:
            self._abandon(ward)
            raise StartFailed(f"{plan['failure']}: {error}") from error

    def _make_group(self, group: Cgroup) -> None:
        known = len(self._layout.made)
        group.create()
        if len(self._layout.made) > known:
            with open(f"{self._root}/cgroups", "w") as file:
                file.write("\n".join(self._layout.made))

    def _execute(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        container = self._wards.get(request["container"])
        if container is None or not container.runs:
            raise Conflict(f"container {request['container']} is not running")
        document = {name: request[name] for name in ("container", "exec", "tty")}
        ward = Ward(
            self._book, {**document, "stdin_once": True, "log": None, "cgroup": container.document["cgroup"]}, self._layout
        )
        ward.create()
        try:
            group = container.group.beside(container.pid)
            self._launch(ward, request, None, reply, group, pidfd=container.pidfd)
        except OSError as error:
            self._abandon(ward)
            raise StartFailed(f"{request['plan']['failure']}: {error}") from error

    def _launch(
        self,
        ward: Ward,
        request: dict[str, Any],
        log: LogFile | None,
        reply: Callable[[dict[str, Any]], None],
        group: Cgroup,
        *,
        pidfd: int = -1,
    ) -> None:
        """Fork the process. What comes of it is told later: the loop goes on meanwhile."""
        stdio = self._make_stdio(ward, log)
        self._wards[ward.key] = ward

        def started() -> None:
            try:
                ward.update(pid=launch.pid, ticks=launch.ticks, pipes=launch.inodes)
            except OSError as error:
                launch.kill()
                return failed(f"{request['plan']['failure']}: cannot write down its state: {error}", 128)
            ward.pidfd = launch.pidfd
            with contextlib.suppress(OSError):  # it has ended already
                ward.mounts = os.open(f"/proc/{launch.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)  # see _release
            reply({"pid": launch.pid, "ticks": launch.ticks})
            self._loop.watch(ward.pidfd, events.READ, lambda mask: self._on_end(ward))
            self._loop.soon(lambda: self._hold(ward))
            self._loop.lazily(self._spares.fill)
            return None

        def failed(message: str, exit_code: int) -> None:
            self._abandon(ward)
            reply({"error": message, "kind": "StartFailed", "exit_code": exit_code})

        launch = Launch(self._loop, stdio, self._spares, tty=request["tty"], stdin=request["stdin"])
        launch.run(request["plan"], group, pidfd, started, failed)
        ward.pid = launch.pid
        for subscriber in self._early.pop(ward.key, []):
            stdio.attach(subscriber)

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
        self._wards.pop(ward.key, None)
        ward.forget()
        if not ward.is_exec and not ward.group.remove():
            self._end_lazily(ward)

    def _attach(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        connection = socket.socket(fileno=fds[0])
        streams = frozenset(name for name in ("stdout", "stderr") if request[name])
        subscriber = Subscriber(self._loop, connection, stdin=request["stdin"], streams=streams)
        key = key_of(request["container"], request.get("exec", ""))
        ward = self._wards.get(key)
        if ward is None or ("exit" in ward.document and not ward.is_exec):  # it will be started (again)
            self._early.setdefault(key, []).append(subscriber)
            subscriber.on_gone = lambda: self._forget_early(key, subscriber)
        elif ward.stdio:
            ward.stdio.attach(subscriber)
        else:
            subscriber.drop()
        reply({})

    def _forget_early(self, key: str, subscriber: Subscriber) -> None:
        if subscriber in (waiting := self._early.get(key, [])):
            waiting.remove(subscriber)
            if not waiting:
                del self._early[key]

    def _kill(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        ward = self._running(request)
        if request["signal"] == signal.SIGKILL and self._layout.version == 1:
            ward.group.thaw()  # on version 1 not even SIGKILL reaches who is frozen
        with contextlib.suppress(ProcessLookupError):  # its end is about to be told
            signal.pidfd_send_signal(ward.pidfd, request["signal"])
        reply({})

    def _resize(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        stdio = self._running(request).stdio
        if stdio and stdio.terminal >= 0:
            set_size(stdio.terminal, request["rows"], request["columns"])
        reply({})

    def _acknowledge(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        ward = self._wards.get(key_of(request["container"], request.get("exec", "")))
        if ward and "exit" in ward.document:
            self._forget(ward)
        reply({})

    def _remove(self, request: dict[str, Any], fds: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
        container = request["container"]
        for subscriber in self._early.pop(container, [])[:]:
            subscriber.drop()
        ward = self._wards.get(container) or self._ending.get(container)
        if ward is None:
            return reply({})
        ward.removers.append(lambda: reply({}))
        if ward.runs:
            self._kill({**request, "signal": signal.SIGKILL}, [], lambda answer: None)
        else:
            self._removed(ward)
        return None

    def _removed(self, ward: Ward) -> None:
        """Once all of it is free, nothing is remembered either."""
        if not ward.released:
            return
        for other in [other for other in self._wards.values() if other.document["container"] == ward.document["container"]]:
            if other.stdio:
                other.stdio.close()
            self._forget(other)
        for remover in ward.removers:
            remover()
        ward.removers = []

    # --- ends ---

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
        for client in self._clients[:]:
            if client.listens:
                client.send(_exit_event(ward))
        self._loop.soon(self._spares.fill)  # while the client ends
        self._end_lazily(ward)

    def _end_lazily(self, ward: Ward) -> None:
        if not ward.is_exec:
            self._ending[ward.document["container"]] = ward
        self._loop.lazily(lambda: self._release(ward))

    def _release(self, ward: Ward) -> bool:
        """Free what the kernel keeps, in an idle moment. Closing a mount namespace is costly: it was held open until now."""
        if ward.released:
            return True
        ward.close()
        if not ward.is_exec and not (ward.group.kill() and ward.group.remove()):
            return False
        ward.released = True
        self._settled(ward)
        if ward.removers:
            self._removed(ward)
        return True

    def _settled(self, ward: Ward) -> None:
        """Called when it is released, and when all its output is delivered: whatever comes last."""
        if ward.released and (not ward.stdio or ward.stdio.is_closed):
            if self._ending.get(ward.document["container"]) is ward:
                del self._ending[ward.document["container"]]
            self._quit_if_idle()

    def _release_now(self, ward: Ward) -> None:
        """The same id is started again: do not wait for an idle moment, nor for a client that does not read."""
        deadline = time.monotonic() + 2
        while not self._release(ward) and time.monotonic() < deadline:
            time.sleep(0.001)
        if ward.stdio:
            ward.stdio.close()

    def _forget(self, ward: Ward) -> None:
        """The engine knows of its end."""
        ward.forget()
        if self._wards.get(ward.key) is ward:
            del self._wards[ward.key]

    def _on_silence(self, ward: Ward) -> None:
        self._holder.drop(ward.key)
        self._settled(ward)

    # --- the holder, and what a keeper before this one left ---

    def _hold(self, ward: Ward) -> None:
        """Have the holder keep what must outlive us."""
        stdio, key = ward.stdio, ward.key
        if stdio and ward.runs:
            self._holder.hold(key, ward.pid, {"pidfd": ward.pidfd, **stdio.descriptors()})
            stdio.released = lambda name: self._holder.drop(key, name)

    def _hold_journal(self) -> None:
        reader, writer = self._journal.staging
        self._holder.hold(_JOURNAL, 0, {"reader": reader, "writer": writer})

    def _watch_holder(self) -> None:
        self._loop.watch(self._holder.channel.fileno(), events.READ, lambda mask: self._on_holder())

    def _on_holder(self) -> None:
        try:
            for key, status in self._holder.reaped():
                self._statuses[key] = status
        except ConnectionError:
            self._replace_holder()

    def _replace_holder(self) -> None:
        """The holder was killed: from now on a new one, below us, holds everything."""
        self._loop.forget(self._holder.channel.fileno())
        self._holder.channel.close()
        self._holder = holding.fork_holder(keeper_of(self._root), self._root)
        self._watch_holder()
        self._hold_journal()
        for ward in self._wards.values():
            self._hold(ward)

    def _adopt_all(self, held: dict[str, holding.Held]) -> None:
        for document in list(self._book.documents.values()):
            ward = Ward(self._book, document, self._layout)
            entry = held.pop(ward.key, holding.Held(0))
            if "pid" not in ward.document:
                self._abandon(ward)
            elif "exit" in ward.document:
                self._wards[ward.key] = ward
                self._end_lazily(ward)
                _close_all(entry)
                self._holder.drop(ward.key)
            else:
                self._adopt(ward, entry)
        for key, entry in held.items():
            _close_all(entry)
            self._holder.drop(key)

    def _adopt(self, ward: Ward, entry: holding.Held) -> None:
        """Take back a process: its pidfd, its pipes, its log."""
        self._wards[ward.key] = ward
        ward.pid = ward.document["pid"]
        fds = entry.fds or ward.reclaim()
        ward.pidfd = fds.pop("pidfd", -1)
        if ward.pidfd < 0:
            ward.pidfd = ward.open_pidfd()
        log = ward.document["log"]
        stdio = self._make_stdio(ward, LogFile(**log) if log else None)
        stdio.adopt(fds)
        self._hold(ward)
        if entry.status is not None:
            self._statuses[ward.key] = entry.status
        if ward.pidfd >= 0:
            self._loop.watch(ward.pidfd, events.READ, lambda mask: self._on_end(ward))
        else:
            self._loop.soon(lambda: self._find_status(ward, _MOST_LOOKS))


VERBS: dict[str, Callable[[Keeper, dict[str, Any], list[int], Callable[[dict[str, Any]], None]], None]] = {
    "hello": Keeper._hello,
    "start": Keeper._start,
    "execute": Keeper._execute,
    "attach": Keeper._attach,
    "kill": Keeper._kill,
    "resize": Keeper._resize,
    "acknowledge": Keeper._acknowledge,
    "remove": Keeper._remove,
}


def failure(error: OrlopError) -> dict[str, Any]:
    """An error as a reply."""
    return {"error": str(error), "kind": type(error).__name__, "exit_code": getattr(error, "exit_code", 128)}


def _exit_event(ward: Ward) -> dict[str, Any]:
    return {"event": "exit", "container": ward.document["container"], "exec": ward.document["exec"], **ward.document["exit"]}


def _close_all(entry: holding.Held) -> None:
    for fd in entry.fds.values():
        os.close(fd)


def keeper_of(exec_root: str) -> Callable[[Holder], NoReturn]:
    """What the holder runs in the keeper's process."""

    def run(holder: Holder) -> NoReturn:
        code = 1
        try:
            syscalls.set_process_title(f"orlop-keeper {exec_root}")
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            if os.path.isdir(exec_root):
                Keeper(exec_root, holder).serve()
            else:  # whatever runs, nobody can ever ask for it again
                holder.farewell()
            code = 0
        except Exception:  # told, and then the next keeper takes over
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)

    return run


def main(exec_root: str) -> NoReturn:
    """Become the holder of a keeper. The listening socket is descriptor 3; returns to the parent at once."""
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o022)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # nobody in a container may look into it, whatever it has entered
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()
    holding.hold(keeper_of(exec_root), exec_root)
