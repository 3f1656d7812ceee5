"""Flask-WTF: a form with a CSRF token, and a view that is exempt."""

from both import both
from flask import Flask, render_template_string
from flask_wtf import CSRFProtect, FlaskForm
from wtforms import StringField
from wtforms.validators import Length

app = Flask(__name__)
app.secret_key = "for a test"
csrf = CSRFProtect(app)


class NameForm(FlaskForm):
    name = StringField(validators=[Length(min=3, message="too short")])


@both(app, "/form", methods=["GET", "POST"])
def form():
    form = NameForm()
    if form.validate_on_submit():
        return f"hello {form.name.data}"
    return render_template_string("<form>{{ form.csrf_token }}</form>{{ form.errors }}", form=form)


@both(app, "/exempt", csrf.exempt, methods=["POST"])
def exempt():
    return "taken"
