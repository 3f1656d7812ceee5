"""The logbook as its users see it, over each protocol."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from carboy import Carboy
from carboy.testing import FlaskClient

from . import create_app, demo
from .models import User, db

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture(scope="module")
def new_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The instance folder after a first start; each test works on a copy."""
    folder = tmp_path_factory.mktemp("instance")
    app = create_app({}, folder)
    app.test_client().get("/about")
    close(app)
    return folder


@pytest.fixture
def app(new_instance: Path, tmp_path: Path) -> Iterator[Carboy]:
    shutil.copytree(new_instance, tmp_path, dirs_exist_ok=True)
    app = create_app({"TESTING": True, "LIVE_PAUSE": 0.01}, tmp_path)
    yield app
    close(app)


def close(app: Carboy) -> None:
    """Close the connections of *app*."""
    with app.app_context():
        app.async_to_sync(db.engines.dispose_async)()
        db.engines.dispose()


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def client(app: Carboy, request: pytest.FixtureRequest) -> FlaskClient:
    return app.test_client(protocol=request.param, lint=True)


def send(client: FlaskClient, path: str, data: dict[str, Any], page: str = "/auth/login") -> Any:
    """Send a form with the token that *page* has for it."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found is not None
    return client.post(path, data={"csrf_token": found[1], **data})


def log_in(client: FlaskClient, name: str = demo.NAME) -> None:
    response = send(client, "/auth/login", {"name": name, "password": demo.PASSWORD})
    assert response.status_code == 302


def test_the_list_has_pages_and_states(client: FlaskClient) -> None:
    first, second = client.get("/").text, client.get("/?page=2").text
    assert "Page 1 of 2" in first and "Harbour Light" in first
    assert "Copper Lane" in second and "Copper Lane" not in first
    assert "Harbour Light" not in client.get("/?status=ready").text
    assert client.get("/?page=99").status_code == 404


def test_joining_the_club(client: FlaskClient) -> None:
    short = send(client, "/auth/register", {"name": "edda", "password": "short"})
    assert short.status_code == 422 and "Use at least 8 characters." in short.text
    taken = send(client, "/auth/register", {"name": "ADA", "password": "long enough"})
    assert "under this name already" in taken.text
    assert send(client, "/auth/register", {"name": "edda", "password": "long enough"}).location == "/"
    assert "Welcome to the club, edda." in client.get("/").text


def test_login_goes_back_to_where_one_was(client: FlaskClient) -> None:
    to_login = client.get("/batches/new").location
    assert to_login == "/auth/login?next=/batches/new"
    answer = send(client, to_login, {"name": "ada", "password": demo.PASSWORD})
    assert answer.location == "/batches/new"


def test_login_never_leads_to_another_site(client: FlaskClient) -> None:
    answer = send(client, "/auth/login?next=//evil.example/", {"name": "ada", "password": demo.PASSWORD})
    assert answer.location == "/"


def test_wrong_password_says_so(client: FlaskClient) -> None:
    for name in ("ada", "nobody"):
        answer = send(client, "/auth/login", {"name": name, "password": "wrong"})
        assert answer.status_code == 422 and "do not match" in answer.text


def test_a_batch_from_start_to_drain(client: FlaskClient) -> None:
    log_in(client)
    batch = {
        "name": "Test Bitter", "style": "amber", "status": "fermenting", "volume_l": "19,5", "brewed_on": "2026-03-07",
        "original_gravity": "1.045", "target_gravity": "1.010", "notes": "",
    }  # fmt: skip
    page = send(client, "/batches/new", batch, page="/").location
    assert "19.5" in client.get(page).text
    assert send(client, f"{page}/edit", {**batch, "name": "Best Bitter"}, page="/").location == page
    assert "Best Bitter" in client.get(page).text
    send(client, f"{page}/readings", {"gravity": "1.020", "temperature_c": "19"}, page="/")
    assert "1.020" in client.get(page).text
    assert send(client, f"{page}/delete", {}, page="/").location == "/"
    assert client.get(page).status_code == 404


def test_a_form_with_errors_keeps_what_was_typed(client: FlaskClient) -> None:
    log_in(client)
    answer = send(client, "/batches/new", {"name": "<b>", "style": "amber", "original_gravity": "9"}, page="/")
    assert answer.status_code == 422
    assert "Enter a number from 1.02 to 1.2." in answer.text and 'value="9"' in answer.text
    answer = send(client, "/batches/new", {"name": "<i>"}, page="/")
    assert "&lt;i&gt;" in answer.text and "<i>" not in answer.text


def test_other_brewers_batches_are_only_looked_at(client: FlaskClient) -> None:
    log_in(client)
    answer = client.get("/batches/3/edit")
    assert answer.status_code == 403 and "belongs to bo" in answer.text
    assert send(client, "/batches/3/delete", {}, page="/").status_code == 403


def test_a_form_of_another_site_is_refused(client: FlaskClient) -> None:
    log_in(client)
    for data in ({}, {"csrf_token": ""}, {"csrf_token": "guessed"}):
        assert client.post("/batches/1/delete", data=data).status_code == 400
    assert client.get("/batches/1").status_code == 200


def test_a_picture_comes_back_as_it_went_in(client: FlaskClient) -> None:
    log_in(client)
    send(client, "/batches/4/photos", {"photo": (io.BytesIO(PNG), "../../x.png"), "caption": "Krausen"}, page="/")
    found = re.search(r'src="(/photos/[0-9a-f]+\.png)" alt="Krausen"', client.get("/batches/4").text)
    assert found is not None
    with client.get(found[1]) as picture:
        assert picture.data == PNG and picture.mimetype == "image/png"


def test_what_is_no_picture_is_refused(client: FlaskClient) -> None:
    log_in(client)
    fake = io.BytesIO(b"<script>alert(1)</script>")
    answer = send(client, "/batches/4/photos", {"photo": (fake, "x.png")}, page="/")
    assert answer.status_code == 422 and "not a PNG" in answer.text


def test_too_large_an_upload_has_a_page_of_its_own(client: FlaskClient) -> None:
    form = "multipart/form-data; boundary=b"
    answer = client.post("/batches/4/photos", data=bytes(5 * 1024 * 1024), content_type=form)
    assert answer.status_code == 413 and "at most 4 MB" in answer.text


def test_readings_are_streamed_as_csv(client: FlaskClient) -> None:
    answer = client.get("/batches/1/readings.csv")
    lines = answer.text.splitlines()
    assert answer.mimetype == "text/csv" and len(lines) == 11
    assert lines[1].split(",")[1] == "1.052"


def test_the_cellar_asks_all_probes_at_once(client: FlaskClient) -> None:
    found = re.search(r"answered in ([\d.]+) s.* need ([\d.]+) s", client.get("/cellar/").text)
    assert found is not None
    assert float(found[1]) < float(found[2])


def test_the_live_page_is_one_growing_response(client: FlaskClient) -> None:
    answer = client.get("/cellar/live?rows=5")
    assert answer.text.count("<tr><td>") == 5 and answer.text.rstrip().endswith("</html>")
    assert not answer.content_length


def test_the_api_pages_through_batches(client: FlaskClient) -> None:
    names, url = [], "/api/batches"
    while url:
        page = client.get(url)
        assert page.json is not None
        names += [batch["name"] for batch in page.json["items"]]
        following = re.search(r'<([^>]+)>; rel="next"', page.headers.get("Link", ""))
        url = following[1] if following else ""
    assert len(names) == len(set(names)) == 11


def test_the_api_takes_readings_with_a_token_only(app: Carboy, client: FlaskClient) -> None:
    reading = {"gravity": 1.015, "temperature_c": 19}
    refused = client.post("/api/batches/1/readings", json=reading)
    assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
    with app.app_context():
        token = db.session.scalars(select(User.api_token).where(User.name == "ada")).one()
    headers = {"Authorization": f"Bearer {token}"}
    taken = client.post("/api/batches/1/readings", json=reading, headers=headers)
    assert taken.status_code == 201 and taken.json is not None and taken.json["abv"] == 4.86
    assert client.get("/api/batches/1").json["readings"][-1]["gravity"] == 1.015  # type: ignore[index]
    assert client.post("/api/batches/3/readings", json=reading, headers=headers).status_code == 403
    assert client.post("/api/batches/1/readings", json={"gravity": "no"}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/api/nope", 404), ("DELETE", "/api/batches", 405), ("GET", "/api/batches/0", 404)],
)
def test_errors_of_the_api_are_json(client: FlaskClient, method: str, path: str, code: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == code
    assert answer.json is not None and answer.json["error"]["code"] == code


def test_errors_have_pages(app: Carboy, client: FlaskClient) -> None:
    assert "Nothing on this shelf" in client.get("/nope").text
    assert client.post("/about").status_code == 405

    app.testing = False
    app.view_functions["about"] = lambda: str(1 // 0)
    broken = client.get("/about")
    assert broken.status_code == 500 and "Something boiled over" in broken.text


def test_every_answer_allows_own_assets_only(client: FlaskClient) -> None:
    for path in ("/", "/nope", "/static/brewlog.css"):
        with client.get(path) as answer:
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_commands(app: Carboy) -> None:
    run = app.test_cli_runner().invoke
    assert run(args=["db", "check"]).exit_code == 0
    app.config["DEMO_DATA"] = False
    assert run(args=["db", "downgrade", "base", "--yes"]).exit_code == 0
    assert run(args=["db", "upgrade"]).exit_code == 0
    assert "Nothing here yet" in app.test_client().get("/").text
    assert run(args=["db", "reset", "--yes"]).exit_code == 0
    assert "Harbour Light" in app.test_client().get("/").text


def test_a_second_start_keeps_key_and_data(tmp_path: Path) -> None:
    first = create_app({"DEMO_DATA": False}, tmp_path)
    send(first.test_client(), "/auth/register", {"name": "edda", "password": "long enough"})
    second = create_app({}, tmp_path)
    close(first)
    assert second.secret_key == first.secret_key
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0
    assert send(second.test_client(), "/auth/login", {"name": "edda", "password": "long enough"}).status_code == 302
    close(second)
