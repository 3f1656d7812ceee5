"""Work that goes on after the response: ``app.add_background_task``.

Owns the tasks of one application in one process: how many there may be, the
context that each runs in, and what becomes of them at shutdown. Async tasks run
on the event loop, sync ones in threads of their own, so that however long they
take, the threads for requests stay free.
"""

from __future__ import annotations

import copy
import functools
import inspect
import io
import threading
import time
import typing as t
from contextvars import Context, copy_context

from .concurrency import DaemonThreads, background_loop, current_loop, is_async, start_task, wait_for
from .context import AppContext, RequestContext, _cv_app, _cv_request

if t.TYPE_CHECKING:
    import asyncio
    import weakref
    from concurrent.futures import Future

    from .app import Carboy
    from .http import Request
    from .http.response import Wire

GRACE = 1.0
"""Seconds that cancelled tasks have at shutdown to clean up."""


class TooManyBackgroundTasks(RuntimeError):
    """As many background tasks as ``BACKGROUND_TASKS_LIMIT`` allows are waiting or running."""


def describe(func: t.Callable[..., t.Any]) -> str:
    """Return the name of *func* and where it is defined."""
    while isinstance(func, functools.partial):
        func = func.func
    func = inspect.unwrap(func)
    name = repr(getattr(func, "__qualname__", None) or type(func).__qualname__)
    code = getattr(func, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}, line {code.co_firstlineno})"


class BackgroundTasks:
    """The background tasks of one application in this process.

    Args:
        app: A reference to the application, which holds this.
        watch_exit: Called before a task starts, to have the end of the process
            wait for it.
    """

    def __init__(self, app: weakref.ref[Carboy], watch_exit: t.Callable[[], None]) -> None:
        self._app = app
        self._watch_exit = watch_exit
        self._lock = threading.Lock()
        self._tasks: set[Task] = set()
        self._deferred: set[Deferred] = set()
        self._threads: DaemonThreads | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def deferred(self) -> int:
        """How many requests have tasks that wait for their response to be sent."""
        return len(self._deferred)

    def add(self, func: t.Callable[..., t.Any], args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> None:
        """Take on ``func(*args, **kwargs)``; see :meth:`carboy.Carboy.add_background_task`."""
        app = t.cast("Carboy", self._app())
        _check(func)
        task = Task(app, functools.partial(func, *args, **kwargs))
        limit = app.config["BACKGROUND_TASKS_LIMIT"]
        self._watch_exit()
        with self._lock:
            if self._closed:
                raise RuntimeError(
                    f"The background task {task} was not added: the application is shutting down, and has finished"
                    " waiting for its background tasks."
                )
            if limit is not None and len(self._tasks) >= limit:
                raise TooManyBackgroundTasks(
                    f"The background task {task} was not added: {len(self._tasks)} are waiting or running already,"
                    f" which is the limit (BACKGROUND_TASKS_LIMIT = {limit}). Answer 503 and let the client try again,"
                    " or hand such work to a job queue."
                )
            self._tasks.add(task)
            request = task.request
            if request is not None and request.has_response:
                deferred = request.background
                if deferred is None:
                    deferred = request.background = Deferred(self, t.cast(RequestContext, _cv_request.get(None)))
                    self._deferred.add(deferred)
                if deferred.keep(task):
                    return
        self.start(task)

    def start(self, task: Task) -> None:
        """Start *task* now; from any thread."""
        task.begin()
        try:
            if task.loop is None:
                task.take_back = self._thread_pool().start(functools.partial(self._run_sync, task))
            else:
                if task.loop.is_closed():
                    task.loop = background_loop()
                ended = functools.partial(self._ended, task)
                task.cancel = start_task(task.loop, task.run, task.variables, ended)
        except RuntimeError as e:
            # No thread to be had, or a loop that closes just now. Whoever sent the response can do nothing about it.
            task.log(e)
            self._ended(task, False)

    def _thread_pool(self) -> DaemonThreads:
        with self._lock:
            if self._threads is None:
                app = t.cast("Carboy", self._app())
                self._threads = DaemonThreads(app.config["BACKGROUND_TASK_THREADS"])
            return self._threads

    def _run_sync(self, task: Task) -> None:
        try:
            task.variables.run(task.run_sync)
        finally:
            self._ended(task, False)

    def _ended(self, task: Task, cancelled: bool) -> None:
        if cancelled and not task.given_up:
            task.app.logger.warning(f"The background task {task} was cancelled.")
        with self._lock:
            if task not in self._tasks:
                # Lost, and logged as such.
                return
            self._tasks.discard(task)
        task.finished.set_result(None)

    def deferred_is_over(self, deferred: Deferred) -> list[Task]:
        """Return the tasks of *deferred*, once, for them to be started."""
        with self._lock:
            self._deferred.discard(deferred)
            return deferred.take()

    def reopen(self) -> None:
        """Accept tasks again."""
        self._closed = False

    async def finish(self, inline: bool, at_once: bool = False) -> None:
        """Wait for all tasks, ``BACKGROUND_TASK_TIMEOUT`` seconds at most; then cancel and log what is left.

        No task is accepted afterwards.

        Args:
            inline: Whether this is a thread that may block.
            at_once: Cancel without waiting.
        """
        app = t.cast("Carboy", self._app())
        timeout: float | None = 0.0 if at_once else app.config["BACKGROUND_TASK_TIMEOUT"]
        deadline = None if timeout is None else time.monotonic() + timeout
        while tasks := self._unfinished():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            await wait_for([task.finished for task in tasks], left, inline)
        with self._lock:
            self._closed = True
            tasks = list(self._tasks)
        why = (
            "because the application could not be started"
            if at_once
            else f"{timeout:g} s after the shutdown began (BACKGROUND_TASK_TIMEOUT)"
        )
        for task in tasks:
            self._give_up(task, why)
        await wait_for([task.finished for task in tasks if task.loop is not None], GRACE, inline)

    def _unfinished(self) -> list[Task]:
        for deferred in list(self._deferred):
            # No response is sent any more.
            deferred.start()
        for task in list(self._tasks):
            if task.loop is not None and not task.loop.is_running():
                task.app.logger.warning(f"The background task {task} was lost: its event loop has ended.")
                self._ended(task, False)
        return list(self._tasks)

    def _give_up(self, task: Task, why: str) -> None:
        task.given_up = True
        if task.loop is not None:
            task.cancel()
            done = "did not finish and was cancelled"
        elif task.take_back():
            done = "was not started any more"
            self._ended(task, True)
        else:
            done = "did not finish and is left behind, for a thread cannot be cancelled,"
        task.app.logger.warning(f"The background task {task} {done} {why}.")


def _check(func: t.Callable[..., t.Any]) -> None:
    if inspect.iscoroutine(func):
        name = func.__name__
        func.close()
        raise TypeError(
            f"A background task is given as the function and its arguments, not as the coroutine of a call:"
            f" add_background_task({name}, ...)."
        )
    if not callable(func):
        raise TypeError(f"A background task is a function, not {func!r}.")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(f"A background task cannot be a generator function: nothing would iterate {describe(func)}.")


class Task:
    """One background task.

    Args:
        app: The application whose contexts it runs in.
        function: What it calls, with the arguments.
    """

    def __init__(self, app: Carboy, function: functools.partial[t.Any]) -> None:
        from concurrent.futures import Future

        self.app = app
        self.function = function
        self.finished: Future[None] = Future()
        self.given_up = False
        self.cancel: t.Callable[[], None] = lambda: None
        self.take_back: t.Callable[[], bool] = lambda: False
        self.loop: asyncio.AbstractEventLoop | None = current_loop() if is_async(function) else None
        self.variables: Context = copy_context()
        request_ctx, app_ctx = _cv_request.get(None), _cv_app.get(None)
        if request_ctx is not None and request_ctx.app is not app:
            request_ctx = None
        self._request_ctx = request_ctx
        self._app_ctx = app_ctx if app_ctx is not None and app_ctx.app is app else None
        self.request = None if request_ctx is None else request_ctx.request
        if self.request is None:
            self.origin = "from outside a request"
        else:
            # Made now, while the connection is there.
            self.request.environ  # noqa: B018
            endpoint = self.request.endpoint
            self.origin = (
                f"of endpoint {endpoint!r}"
                if endpoint is not None
                else f"of {self.request.method} {self.request.path}, which no route matched"
            )

    def __str__(self) -> str:
        return f"{describe(self.function)} {self.origin}"

    def begin(self) -> None:
        """Make the context that the task runs in, out of what is left of the request."""
        request_ctx, app_ctx = self._request_ctx, self._app_ctx
        if request_ctx is None:
            ctx = AppContext(self.app)
        else:
            request = request_ctx.request
            ctx = TaskContext(
                self.app,
                request=copy_of_request(request) if request.has_response else request,
                session=request_ctx.opened_session,
            )
        if app_ctx is not None and "g" in app_ctx.__dict__:
            vars(ctx.g).update(vars(app_ctx.g))
        self.context = ctx
        self._request_ctx = self._app_ctx = self.request = None
        # In the copy of the variables the contexts of the request are active still.
        self.variables.run(_cv_request.set, None)
        self.variables.run(_cv_app.set, None)

    async def run(self) -> None:
        """Call the async function, and log what it raises."""
        try:
            async with self.context:
                await self.function()
        except (Exception, SystemExit) as e:
            self.log(e)

    def run_sync(self) -> None:
        """Call the sync function, and log what it raises."""
        try:
            with self.context:
                self.function()
        except (Exception, SystemExit) as e:
            self.log(e)

    def log(self, error: BaseException) -> None:
        """Log *error*, which ended the task."""
        self.app.logger.error(
            f"Exception in the background task {self}", exc_info=(type(error), error, error.__traceback__)
        )


class Deferred:
    """The tasks of one request, which wait until its response was sent.

    Args:
        owner: The context that was active; if it is left without a response, the
            tasks start then.
    """

    def __init__(self, tasks: BackgroundTasks, owner: RequestContext) -> None:
        self._all = tasks
        self._owner: RequestContext | None = owner
        self._tasks: list[Task] | None = []
        self._awaits_sending = False

    def keep(self, task: Task) -> bool:
        """Add *task*; return False if it need not wait any more."""
        if self._tasks is None:
            return False
        self._tasks.append(task)
        return True

    def take(self) -> list[Task]:
        """Return the tasks; later ones need not wait."""
        tasks, self._tasks, self._owner = self._tasks, None, None
        return tasks or []

    def start(self) -> None:
        """Start the tasks, once."""
        for task in self._all.deferred_is_over(self):
            self._all.start(task)

    def after_sending(self, wire: Wire) -> Wire:
        """Return *wire* so that the tasks start when it was sent or given up."""
        self._awaits_sending = True
        status, code, headers, body, close, context = wire

        def close_and_start() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self.start()

        return status, code, headers, body, close_and_start, context

    def context_left(self, ctx: RequestContext, failed: bool) -> None:
        """Start the tasks if *ctx* was theirs and no response will be sent.

        Args:
            failed: Whether leaving the context raised, so that a response is lost.
        """
        if ctx is self._owner and (failed or not self._awaits_sending):
            self.start()


class TaskContext(RequestContext):
    """A request's context for a background task, with a ``g`` of its own.

    ``before_request`` functions did not run for it, so neither do those of
    ``teardown_request``.
    """

    async def _pop(self, exc: BaseException | None, inline: bool) -> None:
        try:
            await self.app._teardown_appcontext(self, exc, inline)
        finally:
            pushed = self._leave_request()
            if pushed[2]:
                self._leave_app(pushed)


class GoneBody(io.RawIOBase):
    """The body of a request that is over."""

    def limit_to(self, limit: int | None) -> GoneBody:
        return self

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        raise RuntimeError(
            "The body of the request cannot be read in a background task: the request is over. Read it in the view"
            " (request.get_data(), .get_json(), .form), or pass what is needed to the task as an argument."
        )

    def readinto(self, buffer: t.Any) -> int:
        self.read()
        return 0

    async def __aiter__(self) -> t.AsyncIterator[bytes]:
        self.read()
        yield b""


def copy_of_request(request: Request) -> Request:
    """Return a copy to be read when the request is over; what was parsed stays."""
    environ = dict(request.environ)
    had_body = (
        request._input is not None
        or environ.get("CONTENT_LENGTH") not in {None, "", "0"}
        or "HTTP_TRANSFER_ENCODING" in environ
    )
    twin = copy.copy(request)
    twin.environ = environ
    # Those read from the environ, which the server may use again, or from the body.
    twin.__dict__.pop("headers", None)
    twin.__dict__.pop("stream", None)
    twin.has_response = False
    twin.background = None
    twin.set_input(GoneBody() if had_body else io.BytesIO())
    environ["werkzeug.request"] = twin
    return twin
