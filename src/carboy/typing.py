"""Type aliases for what user code hands to the framework: view results, views, hooks, handlers.

The names are those of ``flask.typing`` (Flask 3.1). Every callable alias has a sync and an async form.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from werkzeug.datastructures import Headers
from werkzeug.sansio.response import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
else:
    WSGIApplication = Callable[..., Iterable[bytes]]

# A view's body: a response, or what `make_response` turns into one. Mapping stands for dict so that a TypedDict passes.
ResponseValue = (
    Response
    | str
    | bytes
    | list[Any]
    | Mapping[str, Any]
    | Iterator[str]
    | Iterator[bytes]
    | AsyncIterable[str]
    | AsyncIterable[bytes]
)

HeaderValue = str | list[str] | tuple[str, ...]
HeadersValue = Headers | Mapping[str, HeaderValue] | Sequence[tuple[str, HeaderValue]]

# All that a view may return: a body, alone or with a status code, headers or both; or another WSGI application.
ResponseReturnValue = (
    ResponseValue
    | tuple[ResponseValue, HeadersValue]
    | tuple[ResponseValue, int]
    | tuple[ResponseValue, int, HeadersValue]
    | WSGIApplication
)

# A type variable rather than the class, so that a callback may be annotated with a subclass of the response.
ResponseClass = TypeVar("ResponseClass", bound=Response)

# None is the application, a string the name of a blueprint.
AppOrBlueprintKey = str | None

AfterRequestCallable = Callable[[ResponseClass], ResponseClass] | Callable[[ResponseClass], Awaitable[ResponseClass]]
# The argument is the response that refuses a WebSocket, or None.
AfterWebsocketCallable = Callable[[Any], Any] | Callable[[Any], Awaitable[Any]]
BeforeFirstRequestCallable = Callable[[], None] | Callable[[], Awaitable[None]]
BeforeRequestCallable = Callable[[], ResponseReturnValue | None] | Callable[[], Awaitable[ResponseReturnValue | None]]
ServingCallable = Callable[[], None] | Callable[[], Awaitable[None]]
WhileServingCallable = Callable[[], Iterator[None]] | Callable[[], AsyncIterator[None]]
TeardownCallable = Callable[[BaseException | None], None] | Callable[[BaseException | None], Awaitable[None]]
ShellContextProcessorCallable = Callable[[], dict[str, Any]]

TemplateContextProcessorCallable = Callable[[], dict[str, Any]] | Callable[[], Awaitable[dict[str, Any]]]
TemplateFilterCallable = Callable[..., Any]
TemplateGlobalCallable = Callable[..., Any]
TemplateTestCallable = Callable[..., bool]

URLDefaultCallable = Callable[[str, dict[str, Any]], None]
URLValuePreprocessorCallable = Callable[[str | None, dict[str, Any] | None], None]

# The argument is the exception that the handler was registered for; its exact type is not expressible here.
ErrorHandlerCallable = Callable[[Any], ResponseReturnValue] | Callable[[Any], Awaitable[ResponseReturnValue]]
RouteCallable = Callable[..., ResponseReturnValue] | Callable[..., Awaitable[ResponseReturnValue]]
