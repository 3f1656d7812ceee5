"""WebSocket echo on Tornado: ``python -m tornado_echo PORT``."""

from __future__ import annotations

import asyncio
import sys

import tornado.web
import tornado.websocket
import uvloop


class Echo(tornado.websocket.WebSocketHandler):
    """Returns every message."""

    def on_message(self, message: str | bytes) -> None:
        """Return it."""
        self.write_message(message)


async def main() -> None:
    """Serve until the process is ended."""
    application = tornado.web.Application([("/echo", Echo)])
    application.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
