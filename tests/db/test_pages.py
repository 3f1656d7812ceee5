import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from carboy import render_template_string


@pytest.fixture
def Beer(db):
    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        strength: Mapped[int]

    return Beer


@pytest.fixture
def app(make_app, db, Beer):
    app = make_app()
    with app.app_context():
        db.create_all()
        db.session.add_all([Beer(name=f"b{n:02}", strength=n % 3) for n in range(25)])
        db.session.commit()

    def dump(beer):
        return beer.name

    @app.get("/sync/pages")
    def pages():
        return db.paginate(select(Beer).order_by(Beer.id)).as_json(dump)

    @app.get("/async/pages")
    async def pages_async():
        return (await db.paginate(select(Beer).order_by(Beer.id))).as_json(dump)

    @app.get("/sync/slices")
    def slices():
        return db.paginate_by_key(select(Beer).order_by(Beer.strength.desc(), Beer.id)).as_json(dump)

    @app.get("/async/slices")
    async def slices_async():
        return (await db.paginate_by_key(select(Beer).order_by(Beer.strength.desc(), Beer.id))).as_json(dump)

    return app


def links(answer):
    return {relation: url for url, relation in re.findall(r'<([^>]*)>; rel="(\w+)"', answer.headers.get("Link", ""))}


@pytest.mark.parametrize("prefix", ["/sync", "/async"])
def test_pages_by_number(app, protocol, prefix):
    client = app.test_client(protocol=protocol)
    answer = client.get(f"{prefix}/pages?per_page=10&kind=all")
    assert answer.json == {
        "items": [f"b{n:02}" for n in range(10)],
        "page": 1,
        "per_page": 10,
        "pages": 3,
        "total": 25,
    }
    assert set(links(answer)) == {"first", "next", "last"}
    last = client.get(links(answer)["last"])
    assert last.json["items"] == [f"b{n:02}" for n in range(20, 25)]
    assert "kind=all" in links(last)["prev"] and "next" not in links(last)
    assert len(client.get(f"{prefix}/pages?per_page=1000").json["items"]) == 25
    for wrong in ("page=4&per_page=10", "page=0", "page=x", "page=-1", "page=99999999999999999999", "per_page=0"):
        assert client.get(f"{prefix}/pages?{wrong}").status_code == 404


@pytest.mark.parametrize("prefix", ["/sync", "/async"])
def test_slices_lead_through_all_rows_and_back(app, protocol, prefix):
    client = app.test_client(protocol=protocol)
    answer = client.get(f"{prefix}/slices?per_page=7")
    forward = [answer.json["items"]]
    assert set(links(answer)) == {"next"}
    while "next" in links(answer):
        answer = client.get(links(answer)["next"])
        forward.append(answer.json["items"])
    backward = [answer.json["items"]]
    while "prev" in links(answer):
        answer = client.get(links(answer)["prev"])
        backward.append(answer.json["items"])
    expected = sorted(range(25), key=lambda n: (-(n % 3), n))
    assert [name for items in forward for name in items] == [f"b{n:02}" for n in expected]
    assert backward[::-1] == forward
    for wrong in ("x", "bnVsbA", "WzFd", "WyIxIiwgMl0", "W251bGwsIDFd"):
        assert client.get(f"{prefix}/slices?after={wrong}").status_code == 400


def test_slices_need_an_order(app, db, Beer):
    with app.app_context(), pytest.raises(ValueError, match="order_by"):
        db.paginate_by_key(select(Beer))


def test_numbers_to_show(app, db, Beer):
    with app.app_context():
        page = db.paginate(select(Beer).order_by(Beer.id), page=5, per_page=2)
        assert [*page.numbers(1)] == [1, None, 4, 5, 6, None, 13]
        uncounted = db.paginate(select(Beer).order_by(Beer.id), page=1, per_page=25, count=False)
        assert (uncounted.total, uncounted.has_next, len(uncounted)) == (None, False, 25)
        with pytest.raises(ValueError, match="counted"):
            next(uncounted.numbers())


MACRO = '{% from "carboy/pages.html" import page_links %}{{ page_links(page, around=0) }}'


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_links_for_a_page_of_html(app, db, Beer, protocol):
    @app.get("/html")
    def html():
        page = db.paginate(select(Beer).order_by(Beer.id), per_page=5)
        return render_template_string(
            '{% from "carboy/pages.html" import page_links %}{{ page_links(page, around=0) }}', page=page
        )

    text = app.test_client(protocol=protocol).get("/html?page=3&q=<a>").text
    assert re.findall(r">([^<>\s]+)<", text) == ["Previous", "1", "…", "3", "…", "5", "Next"]
    assert '<span class="pages-current" aria-current="page">3</span>' in text
    assert (
        'rel="next" href="/html?page=4&amp;q=%3Ca%3E"' in text or 'rel="next" href="/html?q=%3Ca%3E&amp;page=4"' in text
    )


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-2, 2), st.text(max_size=2)), max_size=20),
    falls=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    size=st.integers(1, 6),
)
def test_slices_are_the_whole_in_pieces(app, db, Beer, rows, falls, size):
    with app.app_context():
        db.session.query(Beer).delete()
        db.session.add_all([Beer(name=name, strength=strength) for strength, name in rows])
        db.session.flush()
        columns = (Beer.strength, Beer.name, Beer.id)
        order = [column.desc() if down else column for column, down in zip(columns, falls, strict=True)]
        statement = select(Beer).order_by(*order)
        found, cursor = [], None
        while True:
            piece = db.paginate_by_key(statement, after=cursor, per_page=size)
            found += piece.items
            cursor = piece.after
            if cursor is None:
                break
        assert found == list(db.session.scalars(statement))
