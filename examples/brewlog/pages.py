"""The pages of the site itself: about, and every error with the site's face."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from carboy import Carboy, current_app, render_template, request
from carboy.typing import ResponseReturnValue

from . import api

# What each error page says: a title, and the words for an error that brings none of its own.
PAGES = {
    400: ("That did not ferment", "The request made no sense to us."),
    403: ("Not your carboy", "You may look, but not stir."),
    404: ("Nothing on this shelf", "There is no page at this address. It may have been emptied, cleaned and put away."),
    405: ("Not like that", "This address does not take that kind of request."),
    413: ("That does not fit the bottle", "An upload may be at most {limit:g} MB. A smaller picture will do."),
    500: ("Something boiled over", "This is our fault, not yours. The brewmaster has been told."),
}


def init_app(app: Carboy) -> None:
    """Give *app* its error pages and the page about itself."""
    for code in PAGES:
        app.register_error_handler(code, show_error)
    app.add_url_rule("/about", view_func=about)


def show_error(error: HTTPException) -> ResponseReturnValue:
    """Show one page for all errors, in JSON for the API."""
    # An address that is no route belongs to no blueprint: errors of unknown API addresses come here.
    if request.path.startswith("/api/"):
        return api.error_as_json(error)
    code = error.code or 500
    title, description = PAGES[code]
    if error.description != type(error).description:
        description = error.description or description
    else:
        description = description.format(limit=current_app.config["MAX_CONTENT_LENGTH"] / 1024 / 1024)
    return render_template("error.html", code=code, title=title, description=description), code


def about() -> ResponseReturnValue:
    return render_template("about.html")
