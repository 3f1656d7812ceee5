"""PostgreSQL is restarted while money is moved."""

import http.client
import itertools
import json
import os
import random
import sys
import threading
import time

TRANSFERS = int(os.environ.get("CARBOY_TRANSFERS", "10000"))
CLIENTS = 16
RESTARTS = ("fast", "immediate", "fast")
POOL = 5


def test_no_transfer_is_lost_or_done_twice(start, postgresql, protocol, until, capsys):
    bank = start(protocol, postgresql.url, DATABASE_POOL_SIZE=POOL)
    numbers = itertools.count()
    done, errors, most = [], [], []
    stop = threading.Event()

    def client(seed):
        pick = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", bank.port, timeout=60)
        while (number := next(numbers)) < TRANSFERS:
            of, to = pick.sample(range(1, 101), 2)
            side = pick.choice(("sync", "async"))
            while True:
                status, headers, body = bank.ask(
                    "POST", f"/{side}/transfer", connection, key=f"{protocol}{number}", of=of, to=to
                )
                if status == 200:
                    done.append(number)
                    break
                errors.append((time.monotonic(), status, headers["Retry-After"], body))
                time.sleep(0.05)
        connection.close()

    def watch():
        while not stop.wait(0.05):
            most.extend(json.loads(bank.ask("GET", "/pool")[2])["open"])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    watcher = threading.Thread(target=watch)
    for thread in (*threads, watcher):
        thread.start()
    outages = []
    for number, mode in enumerate(RESTARTS, 1):
        until(lambda: len(done) >= number * TRANSFERS // 4, 120, "a quarter of the transfers")  # noqa: B023
        went = time.monotonic()
        postgresql.stop(mode)
        time.sleep(0.4)
        postgresql.start()
        outages.append((went, time.monotonic()))
    for thread in threads:
        thread.join(120)
    stop.set()
    watcher.join()

    assert len(done) == TRANSFERS and bank.process.poll() is None
    assert {(status, after) for _, status, after, _ in errors} <= {(503, "5")}, errors[:3]
    late = [at for at, *_ in errors if not any(went <= at <= back + 1 for went, back in outages)]
    assert late == []
    ((recorded, distinct),) = postgresql.query("SELECT count(*), count(DISTINCT id) FROM transfer")
    assert recorded == distinct >= TRANSFERS
    assert postgresql.query("SELECT sum(balance) FROM account") == [(10_000,)]
    assert max(most) <= POOL
    assert bank.is_free()
    for side in ("sync", "async"):
        assert bank.ask("GET", f"/{side}/accounts")[0] == 200
    with capsys.disabled():
        down = sum(back - went for went, back in outages)
        sys.stdout.write(f" {TRANSFERS} transfers, {len(errors)} told 503 in {down:.1f} s of 3 outages ")
