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
import socket
import sys
import traceback

from orlop.kernel import syscalls
from orlop.kernel.cgroups import Cgroup, layout
from orlop.kernel.terminal import set_size
from orlop.runtime import holder as holding
from orlop.runtime import loop as events
from orlop.runtime.client import Client
from orlop.runtime.custody import Custody
from orlop.runtime.logs import LogFile
from orlop.runtime.loop import Loop
from orlop.runtime.subscriber import Subscriber
from orlop.runtime.wards import Ward, key_of
from orlop.spec.errors import Conflict, NotFound, OrlopError, in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from orlop.runtime.custody import Reply
    from orlop.runtime.holder import Holder

    Request = dict[str, Any]
    Verb = Callable[["Keeper", Request, list[int], Reply], None]

_HEAP_BYTES = 1 << 20  # what formatting one block of output needs, and some more
_LINGER_SECONDS = 1.0  # without a daemon and without containers the keeper ends


class Keeper:
    """The connections, and what can be asked for."""

    def __init__(self, exec_root: str, holder: Holder) -> None:
        self._root, self._holder = exec_root, holder
        self._loop, self._layout = Loop(), layout()
        with contextlib.suppress(FileNotFoundError), open(f"{exec_root}/cgroups") as file:  # parents that we have made
            self._layout.made.update(file.read().split("\n"))
        self._clients: list[Client] = []
        self._reaping = False
        self._custody = Custody(exec_root, self._loop, self._layout, holder, self._tell, self._quit_if_idle)
        self._custody.adopt_all()

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
        self._leave()

    def _leave(self) -> None:
        for parent in sorted(self._layout.made, reverse=True):
            with contextlib.suppress(OSError):
                Cgroup(parent, self._layout).remove()
        book = ("wards.jsonl",) if self._custody.is_forgotten else ()
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
        def is_idle() -> bool:
            return not self._clients and self._custody.is_empty

        if is_idle():
            self._loop.after(_LINGER_SECONDS, lambda: self._loop.stop() if is_idle() else None)

    def _on_child(self, children: int) -> None:
        """A child has ended: ours or, to be reaped when there is time, one whose parent is dead."""
        os.read(children, 4096)
        if not self._reaping:
            self._reaping = True
            self._loop.lazily(self._reap_strangers)

    def _reap_strangers(self) -> bool:
        self._reaping = False
        return self._custody.reap_strangers()

    def _watch_holder(self) -> None:
        self._loop.watch(self._holder.channel.fileno(), events.READ, lambda mask: self._on_holder())

    def _on_holder(self) -> None:
        try:
            self._custody.hear()
        except ConnectionError:  # it was killed: from now on a new one, below us, holds everything
            self._loop.forget(self._holder.channel.fileno())
            self._holder.channel.close()
            self._holder = holding.fork_holder(keeper_of(self._root), self._root)
            self._custody.hand_over(self._holder)
            self._watch_holder()

    def _tell(self, ward: Ward) -> None:
        """Tell whoever listens of an end."""
        end = {"container": ward.document["container"], "exec": ward.document["exec"], **ward.document["exit"]}
        for client in self._clients[:]:
            if client.listens:
                client.send({"event": "exit", **end})

    # --- requests ---

    def _on_request(self, client: Client, request: Request, fds: list[int]) -> None:
        def reply(answer: dict[str, Any]) -> None:
            client.send({"id": request.get("id"), **answer})

        try:
            VERBS[request["verb"]](self, request, fds, reply)
            if request["verb"] == "hello":
                client.listens = True
        except OrlopError as error:
            reply({"error": str(error), "kind": type(error).__name__, "exit_code": getattr(error, "exit_code", 128)})
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply({"error": f"cannot {request.get('verb')}: {in_words(error)}", "kind": "OrlopError"})

    def _running(self, request: Request) -> Ward:
        container, exec_id = request["container"], request["exec"]
        ward = self._custody.wards.get(key_of(container, exec_id))
        if ward is None or not ward.runs:
            raise NotFound("exec instance" if exec_id else "container", exec_id or container)
        return ward

    def _hello(self, request: Request, fds: list[int], reply: Reply) -> None:
        """All that runs, and all that has ended and was not acknowledged."""
        wards = [ward.document for ward in self._custody.wards.values() if "pid" in ward.document]
        reply({"pid": os.getpid(), "wards": wards})

    def _start(self, request: Request, fds: list[int], reply: Reply) -> None:
        container, group = request["container"], request["plan"]["cgroup"]
        old = self._custody.wards.get(container)
        if old is not None and "exit" not in old.document:
            raise Conflict(f"container {container} is running already")
        self._custody.clear_for(container)
        kept = {name: request[name] for name in ("container", "exec", "tty", "stdin_once", "log", "confinement")}
        ward = self._custody.new({**kept, "cgroup": group["path"]})

        def prepare() -> tuple[Cgroup, LogFile | None]:
            self._make_group(ward.group)
            ward.group.apply(group["values"])
            return ward.group, LogFile(**request["log"]) if request["log"] else None

        self._custody.launch(ward, request, reply, prepare, -1)

    def _make_group(self, group: Cgroup) -> None:
        known = len(self._layout.made)
        group.create()
        if len(self._layout.made) > known:
            with open(f"{self._root}/cgroups", "w") as file:
                file.write("\n".join(self._layout.made))

    def _execute(self, request: Request, fds: list[int], reply: Reply) -> None:
        container = self._custody.wards.get(request["container"])
        if container is None or not container.runs:
            raise Conflict(f"container {request['container']} is not running")
        kept = {name: request[name] for name in ("container", "exec", "tty")}
        ward = self._custody.new({**kept, "stdin_once": True, "log": None, "cgroup": container.document["cgroup"]})
        self._custody.launch(ward, request, reply, lambda: (container.group.beside(container.pid), None), container.pidfd)

    def _attach(self, request: Request, fds: list[int], reply: Reply) -> None:
        streams = frozenset(name for name in ("stdout", "stderr") if request[name])
        subscriber = Subscriber(self._loop, socket.socket(fileno=fds[0]), stdin=request["stdin"], streams=streams)
        self._custody.attach(key_of(request["container"], request["exec"]), subscriber)
        reply({})

    def _kill(self, request: Request, fds: list[int], reply: Reply) -> None:
        self._custody.kill(self._running(request), request["signal"])
        reply({})

    def _resize(self, request: Request, fds: list[int], reply: Reply) -> None:
        stdio = self._running(request).stdio
        if stdio and stdio.terminal >= 0:
            set_size(stdio.terminal, request["rows"], request["columns"])
        reply({})

    def _acknowledge(self, request: Request, fds: list[int], reply: Reply) -> None:
        ward = self._custody.wards.get(key_of(request["container"], request["exec"]))
        if ward and "exit" in ward.document:
            self._custody.forget(ward)
        reply({})

    def _remove(self, request: Request, fds: list[int], reply: Reply) -> None:
        self._custody.remove(request["container"], lambda: reply({}))


VERBS: dict[str, Verb] = {
    "hello": Keeper._hello,
    "start": Keeper._start,
    "execute": Keeper._execute,
    "attach": Keeper._attach,
    "kill": Keeper._kill,
    "resize": Keeper._resize,
    "acknowledge": Keeper._acknowledge,
    "remove": Keeper._remove,
}


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
    syscalls.keep_heap(_HEAP_BYTES)
    gc.collect()
    gc.freeze()
    holding.hold(keeper_of(exec_root), exec_root)
