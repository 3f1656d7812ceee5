"""The pages of the site itself: about, and every error with the site's face."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from carboy import Carboy, current_app, render_template, request
from carboy.typing import ResponseReturnValue

from . import api

TITLES = {
    400: "That did not ferment",
    403: "Not your carboy",
    404: "Nothing on this shelf",
    405: "Not like that",
    413: "That does not fit the bottle",
    500: "Something boiled over",
}


def init_app(app: Carboy) -> None:
    """Give *app* its error pages and the page about itself."""
    for code in TITLES:
        app.register_error_handler(code, show_error)
    app.add_url_rule("/about", view_func=about)


def show_error(error: HTTPException) -> ResponseReturnValue:
    """Show one page for all errors; a bare 413 or 500 gets words that help."""
    # An address that is no route belongs to no blueprint: errors of unknown API addresses come here.
    if request.path.startswith("/api/"):
        return api.error_as_json(error)
    code = error.code or 500
    description = error.description
    if code == 413:
        limit = current_app.config["MAX_CONTENT_LENGTH"] / 1024 / 1024
        description = f"An upload may be at most {limit:g} MB. A smaller picture will do."
    elif code == 500:
        description = "This is our fault, not yours. The brewmaster has been told."
    page = render_template("error.html", code=code, title=TITLES[code], description=description)
    return page, code


def about() -> ResponseReturnValue:
    return render_template("about.html")
