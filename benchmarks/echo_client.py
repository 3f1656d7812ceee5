"""The client of ``echo.py``: ``python echo_client.py PORT CONNECTIONS SIZE SECONDS``.

Opens the connections, prints a line, waits for one, and then keeps one message on its way on each connection. Prints
what it counted as JSON. Works on bytes that were made beforehand, so that the server is what limits the rate.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import json
import os
import select
import socket
import statistics
import sys
import time


def connect(port: int) -> socket.socket:
    """Return an open WebSocket to ``/echo``, without extensions."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % port
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = connection.recv(4096)
        if not part:
            break
        answer += part
    if not answer.startswith(b"HTTP/1.1 101 "):
        sys.exit(f"no WebSocket: {answer!r}")
    return connection


def masked(payload: bytes) -> bytes:
    """Return a text frame as a client sends it (RFC 6455 section 5.2)."""
    key = os.urandom(4)
    body = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return bytes([0x81, 0x80 | len(payload)]) + key + body


def main() -> None:
    """Load the server and print the counts."""
    port, count, size = (int(value) for value in sys.argv[1:4])
    seconds = float(sys.argv[4])
    payload = b"x" * size
    frame, expected = masked(payload), bytes([0x81, size]) + payload
    connections = [connect(port) for _ in range(count)]
    print("ready", flush=True)
    sys.stdin.readline()

    sockets = {connection.fileno(): connection for connection in connections}
    poll = select.epoll()
    sent = {}
    clock = time.perf_counter
    begin = clock()
    for number, connection in sockets.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = clock()
        connection.sendall(frame)
    messages, times = 0, []
    deadline = begin + seconds
    while (now := clock()) < deadline:
        for number, _ in poll.poll(5):
            connection = sockets[number]
            got = connection.recv(4096)
            while len(got) < len(expected) and (part := connection.recv(4096)):
                got += part
            if got != expected:
                sys.exit(f"not what was sent: {got!r}")
            messages += 1
            if messages % 8 == 0:
                times.append(clock() - sent[number])
            sent[number] = clock()
            connection.send(frame)
    elapsed = now - begin
    percentiles = statistics.quantiles(times, n=100)
    rate = messages / elapsed
    counted = {"p50_us": percentiles[49] * 1e6, "p99_us": percentiles[98] * 1e6}
    print(json.dumps({"messages": messages, "messages_per_s": rate, **counted}))
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    main()
