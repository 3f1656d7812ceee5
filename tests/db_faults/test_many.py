"""Two hundred requests at once, over five connections."""

import json
import sys

import pytest


@pytest.fixture
def bank(start, protocol, url):
    return start(protocol, url, DATABASE_POOL_TIMEOUT=30)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def kind(request):
    return request.param


def test_all_are_answered_and_none_sees_another(bank, side):
    answers = bank.ask_all("POST", [f"/{side}/mark/{number}" for number in range(200)], 200)
    assert [status for status, _, _ in answers] == [200] * 200
    assert [json.loads(body) for _, _, body in answers] == [[str(number)] for number in range(200)]
    assert bank.is_free()


def test_who_waits_too_long_is_told_to_come_again(start, protocol, url, side, kind, capsys):
    if kind == "sqlite":
        return  # There, who writes waits for others who write, and not for connections.
    bank = start(protocol, url, DATABASE_POOL_TIMEOUT=0.15)
    answers = bank.ask_all("POST", [f"/{side}/mark/{number}" for number in range(200)], 200)
    refused = [headers["Retry-After"] for status, headers, _ in answers if status == 503]
    assert {status for status, _, _ in answers} <= {200, 503}
    assert set(refused) <= {"5"}
    if side == "async" and protocol != "wsgi":  # Where threads wait in line, fewer wait for connections.
        assert 0 < len(refused) < 200
    for number, (status, _, body) in enumerate(answers):
        assert status == 503 or json.loads(body) == [str(number)]
    assert bank.is_free()
    assert bank.ask("POST", f"/{side}/mark/again")[0] == 200
    with capsys.disabled():
        sys.stdout.write(f" {len(refused)} of 200 told 503 ")


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("side", ["sync", "async", "mixed"], indirect=True)
def test_who_has_a_connection_goes_on_while_all_threads_wait_for_one(bank, side):
    """A body that is streamed, and a request with sync and async parts, need a thread more than once."""
    answers = bank.ask_all("GET", [f"/{side}/page/{number}" for number in range(200)], 200)
    assert [(status, body) for status, _, body in answers] == [
        (200, b"%d.0 %d.1 %d.2 " % (number, number, number)) for number in range(200)
    ]
    assert bank.is_free()
