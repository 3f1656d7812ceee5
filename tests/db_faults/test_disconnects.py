"""Clients that leave in the middle of rows that the database is still sending."""

import socket

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

# Of each kind of database; what is special about the others shows sooner.
TIMES = {"postgresql": 100, "mariadb": 20, "sqlite": 20}


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def kind(request):
    return request.param


def test_no_connection_stays_in_use(start, protocol, url, side, kind, until):
    bank = start(protocol, url, DATABASE_POOL_SIZE=5, DATABASE_POOL_TIMEOUT=10)
    for _ in range(TIMES[kind]):
        with socket.create_connection(("127.0.0.1", bank.port), 10) as client:
            client.sendall(f"GET /{side}/stream HTTP/1.1\r\nHost: bank\r\n\r\n".encode())
            # Something has arrived: the rows are on their way.
            received = b""
            while b"is the number" not in received:
                part = client.recv(4096)
                assert part, received
                received += part
    until(bank.is_free, 15, "all connections given back")
    if kind == "postgresql":
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
        with engine.connect() as connection:
            states = connection.execute(
                text(
                    "SELECT state, count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() GROUP BY state"
                )
            ).all()
        assert {state for state, _ in states} <= {"idle"}
        assert sum(count for _, count in states) <= 5
    assert bank.ask("GET", f"/{side}/accounts")[0] == 200
    said = bank.stop()
    for bad in ("Traceback", "never awaited", "non-checked-in connection"):
        assert bad not in said, said[-3000:]
