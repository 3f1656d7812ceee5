"""Who is there: register, log in, log out, and the account page with the API token."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from typing import ParamSpec

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.security import check_password_hash, generate_password_hash

from carboy import Blueprint, current_app, flash, g, redirect, render_template, request, session, url_for
from carboy.typing import ResponseReturnValue

from . import demo
from .forms import Form
from .models import User, db

blueprint = Blueprint("auth", __name__, url_prefix="/auth")

P = ParamSpec("P")

# What a login with an unknown name is checked against, so that it takes as long as any other.
NOBODY = generate_password_hash(secrets.token_hex())


def login_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Send visitors who are not logged in to the login page, and back here afterwards."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if g.user is None:
            target = request.full_path.removesuffix("?") if request.method == "GET" else None
            return redirect(url_for("auth.login", next=target))
        return view(*args, **kwargs)

    return guarded


@blueprint.before_app_request
def load_user() -> None:
    """Put the logged-in user, or None, in ``g.user``."""
    g.user = None
    if request.endpoint != "static" and "user_id" in session:
        g.user = db.session.get(User, session["user_id"])


def start_session(user_id: int) -> None:
    """Log *user_id* in, in a session that has nothing from before."""
    session.clear()
    session["user_id"] = user_id


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    form = Form(request.form)
    if request.method == "POST":
        name = form.text("name", at_least=2, at_most=30)
        password = form.text("password", at_least=8, at_most=200)
        if not form.errors:
            user = User(name=name, password_hash=generate_password_hash(password), api_token=secrets.token_urlsafe(24))
            try:
                with db.transaction():
                    db.session.add(user)
            except IntegrityError:
                form.errors["name"] = "Somebody brews under this name already."
            else:
                start_session(user.id)
                flash(f"Welcome to the club, {name}.")
                return redirect(url_for("batches.index"))
    return render_template("auth/register.html", form=form), 422 if form.errors else 200


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    form = Form(request.form)
    if request.method == "POST":
        name = form.text("name", at_least=1, at_most=30)
        password = form.text("password", at_least=1, at_most=200)
        if not form.errors:
            user = db.session.scalar(select(User).where(User.folded == name.casefold()))
            if check_password_hash(user.password_hash if user else NOBODY, password) and user:
                start_session(user.id)
                flash(f"Welcome back, {user.name}.")
                return redirect(own_page(request.args.get("next")) or url_for("batches.index"))
            form.errors["password"] = "Name and password do not match."
    hint = demo if current_app.config["DEMO_DATA"] else None
    return render_template("auth/login.html", form=form, hint=hint), 422 if form.errors else 200


def own_page(target: str | None) -> str | None:
    """Return *target* if it is a page of this site, so that a login link cannot lead elsewhere."""
    if target and target.startswith("/") and not target.startswith(("//", "/\\")):
        return target
    return None


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    flash("You are logged out. Cheers!")
    return redirect(url_for("batches.index"))


@blueprint.route("/account", methods=["GET", "POST"])
@login_required
def account() -> ResponseReturnValue:
    """Show the API token; a POST replaces it."""
    if request.method == "POST":
        with db.transaction():
            g.user.api_token = secrets.token_urlsafe(24)
        flash("Here is your new token. The old one no longer works.")
        return redirect(url_for("auth.account"))
    return render_template("auth/account.html")
