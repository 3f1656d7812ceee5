"""PostgreSQL is restarted while money is moved."""

import http.client
import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter

import psycopg

TRANSFERS = int(os.environ.get("CARBOY_TRANSFERS", "10000"))
CLIENTS = 16
RESTARTS = ("fast", "immediate", "fast")
POOL = 5


def test_no_transfer_is_lost_or_done_twice(start, postgresql, protocol, until, capsys):  # noqa: C901
    bank = start(protocol, f"{postgresql.url}?application_name={protocol}", DATABASE_POOL_SIZE=POOL)
    numbers = itertools.count()
    expected = Counter(dict.fromkeys(range(1, 101), 100))
    done, errors, reads, connections, deadlocks = [], [], [], [], []
    stop = threading.Event()

    def ask(connection, method, path, **query):
        """Ask until there is an answer: 503 may come while the database is away."""
        while True:
            status, headers, body = bank.ask(method, path, connection, **query)
            if status == 200:
                return body
            errors.append((time.monotonic(), status, headers["Retry-After"], body))
            time.sleep(0.05)

    def client(seed):
        pick = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", bank.port, timeout=60)
        while (number := next(numbers)) < TRANSFERS:
            # Few, so that they get in each other's way.
            of, to = pick.sample(range(1, 21), 2)
            ask(connection, "POST", f"/{pick.choice(('sync', 'async'))}/transfer", key=number, of=of, to=to)
            done.append((of, to))
        connection.close()

    def reader(side):
        connection = http.client.HTTPConnection("127.0.0.1", bank.port, timeout=60)
        while not stop.wait(0.05):
            reads.append(sum(json.loads(ask(connection, "GET", f"/{side}/accounts"))))
        connection.close()

    def watcher():
        while not stop.wait(0.02):
            try:
                with psycopg.connect(postgresql.url, autocommit=True) as connection:
                    while not stop.wait(0.02):
                        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
                        connections.extend(connection.execute(query, [protocol]).fetchone())
                        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
                        deadlocks.extend(connection.execute(query).fetchone())
            except psycopg.OperationalError:
                pass

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    others = [threading.Thread(target=reader, args=(side,)) for side in ("sync", "async")]
    others.append(threading.Thread(target=watcher))
    for thread in (*clients, *others):
        thread.start()
    outages = []
    for number, mode in enumerate(RESTARTS, 1):
        until(lambda: len(done) >= number * TRANSFERS // 4, 120, "a quarter of the transfers")  # noqa: B023
        went = time.monotonic()
        postgresql.stop(mode)
        time.sleep(0.4)
        postgresql.start()
        outages.append((went, time.monotonic()))
        # A transaction lies always between the accounts; whoever looks finds the same sum.
        assert postgresql.query("SELECT sum(balance) FROM account") == [(10_000,)]
    for thread in clients:
        thread.join(120)
    stop.set()
    for thread in others:
        thread.join(20)

    assert len(done) == TRANSFERS and bank.process.poll() is None
    assert {(status, after) for _, status, after, _ in errors} <= {(503, "5")}, errors[:3]
    late = [at - outages[-1][1] for at, *_ in errors if not any(went <= at <= back + 1 for went, back in outages)]
    assert late == []
    for of, to in done:
        expected[of] -= 1
        expected[to] += 1
    assert postgresql.query("SELECT count(*), count(DISTINCT id) FROM transfer") == [(TRANSFERS, TRANSFERS)]
    assert dict(postgresql.query("SELECT id, balance FROM account")) == expected
    assert set(reads) == {10_000}
    # One pool for sync code, one for async.
    assert max(connections) <= 2 * POOL
    assert max(deadlocks) > 0
    assert bank.is_free()
    with capsys.disabled():
        down = sum(back - went for went, back in outages)
        sys.stdout.write(
            f" {TRANSFERS} transfers, {len(reads)} reads, {len(errors)} told 503 in {down:.1f} s of {len(outages)}"
            f" outages, at most {max(connections)} connections, {max(deadlocks)} deadlocks since one of them "
        )
