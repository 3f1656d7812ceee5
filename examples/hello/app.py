"""The smallest application: one page, and a greeting in JSON.

Run it with ``carboy --app examples/hello/app.py run``.
"""

from carboy import Carboy

app = Carboy(__name__)


@app.route("/")
def index() -> str:
    return "Hello from the carboy!"


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, str]:
    return {"hello": name}
