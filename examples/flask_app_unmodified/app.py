"""A Flask application as it was written for Flask: nothing in here knows carboy.

``carboy --app examples/flask_app_unmodified/app.py run`` serves it; so does
``CARBOY_AS_FLASK=1 gunicorn app:app`` in this folder.
"""

from flask import Blueprint, Flask, flash, get_flashed_messages, redirect, request, session, url_for

bp = Blueprint("guests", __name__, url_prefix="/guests")


@bp.route("/", methods=["GET", "POST"])
def book():
    if request.method == "POST":
        session.setdefault("names", []).append(request.form["name"])
        session.modified = True
        flash("Thank you!")
        return redirect(url_for(".book"))
    return {"names": session.get("names", []), "messages": get_flashed_messages()}


def create_app():
    app = Flask(__name__)
    app.secret_key = "only for this example"
    app.register_blueprint(bp)

    @app.route("/")
    def index():
        return f"This is {type(app).__module__}.{type(app).__name__}."

    return app


app = create_app()
