"""A small HTTP client that keeps cookies, does not follow redirects, and takes every status for an answer."""

from __future__ import annotations

import json
import urllib.request
from http.cookiejar import CookieJar
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Browser:
    """One visitor of a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()), _NoRedirects()
        )

    def request(
        self, method: str, path: str, form: dict[str, str] | None = None, json: Any = None, **headers: str
    ) -> Answer:
        """Send a request; ``X_Client="a"`` is the header ``X-Client: a``."""
        data = None
        if form is not None:
            data = urlencode(form).encode()
        elif json is not None:
            data = _dumps(json)
            headers["Content_Type"] = "application/json"
        request = urllib.request.Request(self._url + path, data, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with self._opener.open(request, timeout=30) as response:
                return Answer(response.status, response.headers, response.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET request."""
        return self.request("GET", path, **headers)

    def post(self, path: str, form: dict[str, str] | None = None, json: Any = None, **headers: str) -> Answer:
        """Send a POST request with a form or JSON."""
        return self.request("POST", path, form if json is not None or form is not None else {}, json, **headers)


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()
