import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """The benchmark's modules can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setenv("BENCHMARK_FILES", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), str(BENCHMARKS / "apps"), *sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def test_the_page_is_what_the_results_say(programs) -> None:
    import plot
    import render

    results = render.stored()
    assert render.PAGE.read_text() == render.page(results)
    assert render.PICTURE.read_text() == plot.picture(results["http"])


@pytest.mark.parametrize("module", ["carboy_app", "carboy_async_app"])
@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_applications_answer_every_case(programs, module, protocol) -> None:
    import cases
    import environment

    (programs / "static").mkdir()
    (programs / "static" / "notes.txt").write_text(environment.NOTES)
    client = __import__(module).app.test_client(protocol=protocol)
    assert client.get(cases.CASES["session"].path).text == "1"
    for case in cases.CASES.values():
        if case.group in ("ordinary", "waiting"):
            content_type = case.content_type or None
            answer = client.open(case.path, method=case.method, data=case.body, content_type=content_type)
            cases.verify(case, answer.status_code, answer.headers["Content-Type"], answer.data, module)
            answer.close()
