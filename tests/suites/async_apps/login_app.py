"""Flask-Login: sign in, a page for members, sign out."""

from both import both
from flask import Flask, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user

app = Flask(__name__)
app.secret_key = "for a test"
login = LoginManager(app)


class User(UserMixin):
    def __init__(self, id):
        self.id = id


@login.user_loader
def load_user(id):
    return User(id)


@both(app, "/login", methods=["POST"])
def enter():
    login_user(User(request.form["name"]))
    return "welcome"


@both(app, "/me", login_required)
def me():
    return current_user.id


@both(app, "/logout", login_required, methods=["POST"])
def leave():
    logout_user()
    return "bye"
