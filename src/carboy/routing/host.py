"""Whether the ``Host`` header of a request is one to answer."""

from __future__ import annotations

import functools

from werkzeug.exceptions import BadRequest
from werkzeug.sansio.utils import get_host


@functools.lru_cache(maxsize=1024)
def check_host(host: str, trusted: tuple[str, ...] | None) -> None:
    """Accept the value of a ``Host`` header (RFC 9110 section 7.2).

    Raises:
        SecurityError: It is not among the trusted ones.
        BadRequest: It has characters that no host has, or is two hosts.
    """
    if not host or get_host("http", host, None, trusted):
        return
    # COMPAT: Werkzeug 3.1.8 and newer take an invalid header for a missing one; Flask's tests want 400, but accept
    # an international name that was not encoded. What came over a wire is Latin-1 (PEP 3333), so it is not one.
    try:
        host.encode("latin1")
        valid = False
    except UnicodeError:
        valid = bool(get_host("http", host.encode("idna").decode("ascii")))
    if not valid:
        raise BadRequest("The Host header is not a valid host name.")
