"""Flask-Admin: list and edit rows, and a view of one's own."""

import os

from both import as_async
from flask import Flask
from flask_admin import Admin, BaseView, expose
from flask_admin.contrib.sqla import ModelView
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.secret_key = "for a test"
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['APP_FOLDER']}/hops.sqlite"
db = SQLAlchemy(app)


class Hop(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80))


def report(self):
    return self.render("admin/index.html")


class SyncReport(BaseView):
    index = expose("/")(report)


class AsyncReport(BaseView):
    index = expose("/")(as_async(report))


class AsyncHops(ModelView):
    """The list's view as an async function, as somebody might override it."""

    index_view = expose("/")(as_async(ModelView.index_view))
    edit_view = expose("/edit/", methods=("GET", "POST"))(as_async(ModelView.edit_view))


admin = Admin(app)
admin.add_view(ModelView(Hop, db, endpoint="sync_hops", url="/sync/hops"))
admin.add_view(AsyncHops(Hop, db, endpoint="async_hops", url="/async/hops"))
admin.add_view(SyncReport(endpoint="sync_report", url="/sync/report"))
admin.add_view(AsyncReport(endpoint="async_report", url="/async/report"))

with app.app_context():
    db.create_all()
