"""The signed text of a session cookie: exactly what itsdangerous writes and accepts, without its parts made each time.

``payload.timestamp.signature``: the payload is JSON, compressed if that makes it shorter (it then begins with a dot);
all three are URL-safe Base64 without padding.
"""

from __future__ import annotations

import hmac
import time
import zlib
from binascii import a2b_base64, b2a_base64
from typing import Any

from itsdangerous import URLSafeTimedSerializer

from .lazy import lazy

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _encode(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_TO_URL_SAFE).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return a2b_base64(text.translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4))


_ZLIB_HEADER = zlib.compress(b"")[:2]


def _compress(data: bytes) -> bytes:
    """Return ``zlib.compress(data)``."""
    if len(data) > 3800:
        return zlib.compress(data)
    # PERF: zlib's default is a quarter of a megabyte of fresh tables (10 to 30 µs), this is 48 KiB (3 µs). With all of
    # the data within the window, and in one block, the result is the same.
    deflate = zlib.compressobj(wbits=-12, memLevel=6)
    return _ZLIB_HEADER + deflate.compress(data) + deflate.flush() + zlib.adler32(data).to_bytes(4, "big")


class CookieSerializer(URLSafeTimedSerializer):
    """itsdangerous's serializer with signing keys that are derived once, at its first use.

    A text is accepted here if it is just what `dumps` writes; whatever else there is to say of one, and to other
    arguments, itsdangerous says.
    """

    @lazy
    def _macs(self) -> list[hmac.HMAC]:
        # Keyed, to be copied for each signature. The first is for signing, the others are older.
        signer = self.make_signer()
        keys = reversed(self.secret_keys)
        return [hmac.new(signer.derive_key(key), digestmod=signer.digest_method) for key in keys]

    @staticmethod
    def _sign(mac: hmac.HMAC, text: bytes) -> bytes:
        mac = mac.copy()
        mac.update(text)
        return _encode(mac.digest())

    def dumps(self, obj: Any, salt: str | bytes | None = None) -> Any:
        """Return *obj* as signed text."""
        if salt is not None:
            return super().dumps(obj, salt)
        now = int(time.time())
        text = self.dump_payload(obj) + b"." + _encode(now.to_bytes((now.bit_length() + 7) // 8, "big"))
        text += b"." + self._sign(self._macs[0], text)
        return text.decode() if self.is_text_serializer else text

    def dump_payload(self, obj: Any) -> bytes:
        """Return *obj* as the first part of the text."""
        data: Any = self.serializer.dumps(obj, **self.serializer_kwargs)
        if isinstance(data, str):
            data = data.encode()
        compressed = _compress(data)
        return b"." + _encode(compressed) if len(compressed) < len(data) - 1 else _encode(data)

    def loads(  # type: ignore[override] # as itsdangerous's own
        self,
        s: str | bytes,
        max_age: int | None = None,
        return_timestamp: bool = False,
        salt: str | bytes | None = None,
    ) -> Any:
        """Return the value of the signed text *s*.

        Args:
            max_age: Most seconds since it was signed.

        Raises:
            BadSignature: It was not signed with one of the keys, or it is too old.
            BadPayload: It was signed, but is not what the inner serializer writes.
        """
        if salt is None and not return_timestamp:
            text = s.encode() if isinstance(s, str) else s
            payload = self._payload_of(text, max_age)
            if payload is not None:
                try:
                    data: Any = zlib.decompress(_decode(payload[1:])) if payload[:1] == b"." else _decode(payload)
                    return self.serializer.loads(data.decode() if self.is_text_serializer else data)
                except Exception:
                    return self.load_payload(payload)
        return super().loads(s, max_age, return_timestamp, salt)

    def _payload_of(self, text: bytes, max_age: int | None) -> bytes | None:
        """Return the first part of a text that is signed, and whose timestamp is as usual and not too old."""
        signed, _, signature = text.rpartition(b".")
        payload, dot, timestamp = signed.rpartition(b".")
        # Four bytes, from 1970-07-14 to 2106.
        if not dot or len(timestamp) != 6 or not timestamp.replace(b"-", b"").replace(b"_", b"").isalnum():
            return None
        age = int(time.time()) - int.from_bytes(_decode(timestamp), "big")
        if max_age is not None and not 0 <= age <= max_age:
            return None
        for mac in self._macs:
            # SECURITY: in a time that does not depend on where they differ.
            if hmac.compare_digest(signature, self._sign(mac, signed)):
                return payload
        return None
