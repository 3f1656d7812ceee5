"""Whether the application can do its work: what load balancers and orchestrators ask.

Extensions add checks with `add_check`, whether anybody asks or not. `Health` adds two routes to an application that
wants them. Checks run at the same time, each in a thread, so that one that hangs neither delays the others nor the
answer; and as long as it hangs it is not called again.
"""

from __future__ import annotations

import threading
import typing as t
from contextvars import copy_context
from time import monotonic

from carboy import Blueprint, current_app

if t.TYPE_CHECKING:
    from carboy import Carboy

CheckFunction = t.Callable[[], str | None] | t.Callable[[], t.Awaitable[str | None]]
"""Returns None if all is well, else what is wrong; or raises."""

EXTENSION = "carboy.health"
"""The key of an application's checks in ``app.extensions``."""

TIMEOUT = 2.0
"""Seconds to wait for checks; less than the patience of whoever asks."""


def add_check(app: Carboy, name: str, func: CheckFunction) -> None:
    """Have *app* be ready only when a check passes.

    Args:
        app: The application.
        name: For messages. A check that is added under the same name takes the place of the other.
        func: Sync or async, called without arguments in the application's context. Returns None if all is well, else
            what is wrong, without secrets; an exception says that, too.

    Example::

        def disk():
            return None if shutil.disk_usage("/srv").free > 10**9 else "less than a gigabyte is free"

        add_check(app, "disk", disk)
    """
    app.extensions.setdefault(EXTENSION, {})[name] = _Check(app, name, func)


def failing_checks(app: Carboy, timeout: float = TIMEOUT, *, only: t.Container[str] | None = None) -> dict[str, str]:
    """Return what is wrong, by the names of checks; nothing if all is well.

    Args:
        app: The application.
        timeout: Seconds to wait, for all together. A check that takes longer fails.
        only: The names of some checks.
    """
    checks: dict[str, _Check] = app.extensions.get(EXTENSION, {})
    deadline = monotonic() + timeout
    # All are begun before the first is waited for.
    attempts = [(check, check.attempt()) for name, check in checks.items() if only is None or name in only]
    failing = {}
    for check, attempt in attempts:
        if attempt.done.wait(max(0, deadline - monotonic())):
            wrong = attempt.wrong
        else:
            wrong = f"no answer within {timeout:g} seconds"
        check.note(wrong)
        if wrong is not None:
            failing[check.name] = wrong
    return failing


class Health:
    """Two routes that tell whether the application answers, and whether it can do its work.

    ======== ============ ==========================================================================================
    liveness ``/healthz`` 200 when the process answers; who gets no answer restarts it
    ready    ``/readyz``  200 when all checks pass, else 503, also while the server stops; who gets 503 sends nobody
    ======== ============ ==========================================================================================

    Everybody may ask, so the answer has no particulars. They are in the log, when a check begins to fail.

    Args:
        app: Given to `init_app`.
        live: The path of the first; None for none.
        ready: The path of the second; None for none.
        timeout: Seconds until a check must have answered.
        details: Whether to answer what is wrong; by default in debug mode only.
    """

    def __init__(
        self,
        app: Carboy | None = None,
        *,
        live: str | None = "/healthz",
        ready: str | None = "/readyz",
        timeout: float = TIMEOUT,
        details: bool | None = None,
    ) -> None:
        self._live = live
        self._ready = ready
        self._timeout = timeout
        self._details = details
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Carboy) -> None:
        """Add the routes to *app*, as endpoints ``health.live`` and ``health.ready``."""
        blueprint = Blueprint("health", __name__)
        if self._live is not None:
            blueprint.add_url_rule(self._live, "live", _live, run="loop")
        if self._ready is not None:
            blueprint.add_url_rule(self._ready, "ready", self._answer_readiness)
        app.register_blueprint(blueprint)

    def _answer_readiness(self) -> t.Any:
        # Sync: an async view would have a sync application be served over another protocol.
        failing = failing_checks(current_app, self._timeout)
        if current_app.lifecycle.draining:
            failing["server"] = "is stopping"
        answer: dict[str, t.Any] = {"status": "unavailable" if failing else "ok"}
        if current_app.debug if self._details is None else self._details:
            answer["failing"] = failing
        return answer, 503 if failing else 200, _HEADERS


_HEADERS = {"Cache-Control": "no-store"}


def _live() -> t.Any:
    return {"status": "ok"}, _HEADERS


class _Attempt:
    """One call of a check.

    Attributes:
        done: Set when it has ended.
        wrong: What is wrong.
    """

    def __init__(self) -> None:
        self.done = threading.Event()
        self.wrong: str | None = None


class _Check:
    """A check of an application, which is called once at a time."""

    def __init__(self, app: Carboy, name: str, func: CheckFunction) -> None:
        self.name = name
        self._app = app
        self._func = func
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None
        self._is_failing = False

    def attempt(self) -> _Attempt:
        """Return the attempt that is under way, or begin one."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or attempt.done.is_set():
                attempt = self._attempt = _Attempt()
                # The context knows the event loop on which async checks run. The process need not wait for them.
                run = copy_context().run
                threading.Thread(target=run, args=(self._run, attempt), name="carboy-health", daemon=True).start()
            return attempt

    def _run(self, attempt: _Attempt) -> None:
        try:
            with self._app.app_context():
                attempt.wrong = self._app.ensure_sync(self._func)()
        except Exception as e:
            attempt.wrong = f"{type(e).__name__}: {e}"
        finally:
            attempt.done.set()

    def note(self, wrong: str | None) -> None:
        """Log that it begins to fail, and that it passes again: not each time that somebody asks."""
        is_failing = wrong is not None
        with self._lock:
            has_changed, self._is_failing = is_failing != self._is_failing, is_failing
        if has_changed:
            self._app.logger.warning(
                "Health check %r %s", self.name, f"fails: {wrong}" if is_failing else "passes again."
            )
