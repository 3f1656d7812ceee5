"""The batches: the list, one batch with its curve, and everything its brewer can change."""

from __future__ import annotations

import csv
import io
import secrets
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.datastructures import FileStorage

from carboy import (
    Blueprint,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    send_from_directory,
    stream_with_context,
    url_for,
)
from carboy.typing import ResponseReturnValue
from carboy.views import MethodView

from . import brewing, chart
from .auth import login_required
from .database import connection
from .forms import Form

blueprint = Blueprint("batches", __name__)

LIST = """
    SELECT batch.*, user.name AS brewer,
      (SELECT gravity FROM reading WHERE batch_id = batch.id ORDER BY taken_at DESC, id DESC LIMIT 1) AS gravity
    FROM batch JOIN user ON user.id = batch.user_id
"""

# The first bytes of each picture format that browsers show. The name of an upload proves nothing.
PICTURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp"}


def find_page(number: int, status: str | None = None) -> tuple[list[sqlite3.Row], int]:
    """Return the batches of page *number* (from 1), newest first, and how many pages there are."""
    where, values = ("WHERE status = ?", (status,)) if status else ("", ())
    size = current_app.config["PAGE_SIZE"]
    (total,) = connection().execute(f"SELECT count(*) FROM batch {where}", values).fetchone()
    rows = connection().execute(
        f"{LIST} {where} ORDER BY brewed_on DESC, batch.id DESC LIMIT ? OFFSET ?",
        (*values, size, (number - 1) * size),
    )
    return rows.fetchall(), max(1, -(-total // size))


def find_batch(batch_id: int) -> sqlite3.Row:
    """Return one batch, or answer 404."""
    batch: sqlite3.Row | None = connection().execute(f"{LIST} WHERE batch.id = ?", (batch_id,)).fetchone()
    if batch is None:
        abort(404, "There is no such batch. Somebody may have emptied the carboy.")
    return batch


def find_own_batch(batch_id: int) -> sqlite3.Row:
    """Return one batch of the logged-in user; anybody else's answers 403."""
    batch = find_batch(batch_id)
    if batch["user_id"] != g.user["id"]:
        abort(403, f"This batch belongs to {batch['brewer']}. Look, but do not stir.")
    return batch


def find_readings(batch_id: int) -> list[sqlite3.Row]:
    """Return the readings of one batch, oldest first."""
    return (
        connection().execute("SELECT * FROM reading WHERE batch_id = ? ORDER BY taken_at, id", (batch_id,)).fetchall()
    )


def add_reading(batch_id: int, gravity: float, temperature_c: float) -> int:
    """Store a reading taken now and return its id."""
    cursor = connection().execute(
        "INSERT INTO reading (batch_id, taken_at, gravity, temperature_c) VALUES (?, ?, ?, ?)",
        (batch_id, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"), gravity, temperature_c),
    )
    connection().commit()
    return cursor.lastrowid or 0


@blueprint.route("/")
def index() -> ResponseReturnValue:
    number = request.args.get("page", 1, type=int)
    status = request.args.get("status")
    if number < 1 or (status and status not in brewing.STATUSES):
        abort(404)
    batches, pages = find_page(number, status)
    if number > pages:
        abort(404)
    counts = dict(connection().execute("SELECT status, count(*) FROM batch GROUP BY status").fetchall())
    return render_template(
        "batches/index.html",
        batches=batches,
        number=number,
        pages=pages,
        status=status,
        counts=counts,
        progress=brewing.progress,
    )


@blueprint.route("/batches/<int:batch_id>")
def show(batch_id: int) -> ResponseReturnValue:
    return show_batch(find_batch(batch_id), Form({}))


def show_batch(batch: sqlite3.Row, form: Form) -> ResponseReturnValue:
    """Return the page of one batch; *form* is the reading or photo form that was just refused."""
    readings = find_readings(batch["id"])
    photos = connection().execute("SELECT * FROM photo WHERE batch_id = ? ORDER BY id", (batch["id"],))
    page = render_template(
        "batches/show.html",
        batch=batch,
        readings=readings,
        photos=photos.fetchall(),
        curve=chart.draw(batch, readings),
        abv=brewing.abv(batch["original_gravity"], batch["gravity"] or batch["original_gravity"]),
        own=g.user is not None and g.user["id"] == batch["user_id"],
        form=form,
    )
    return page, 422 if form.errors else 200


class EditBatch(MethodView):
    """The form for a new batch (no id) and for a batch of one's own."""

    decorators: ClassVar = [login_required]

    def get(self, batch_id: int | None = None) -> ResponseReturnValue:
        if batch_id is None:
            start: dict[str, Any] = {"brewed_on": date.today().isoformat(), "status": "planned"}
            return render_template("batches/edit.html", batch=None, form=Form(start))
        batch = find_own_batch(batch_id)
        form = Form({key: str(value) for key, value in dict(batch).items()})
        return render_template("batches/edit.html", batch=batch, form=form)

    def post(self, batch_id: int | None = None) -> ResponseReturnValue:
        batch = None if batch_id is None else find_own_batch(batch_id)
        form = Form(request.form)
        values = {
            "name": form.text("name", at_least=3, at_most=60),
            "style": form.choice("style", brewing.STYLES),
            "status": form.choice("status", brewing.STATUSES),
            "volume_l": form.number("volume_l", 1, 500),
            "original_gravity": form.number("original_gravity", 1.02, 1.2),
            "target_gravity": form.number("target_gravity", 0.98, 1.1),
            "brewed_on": form.day("brewed_on"),
            "notes": form.text("notes", at_most=2000),
        }
        if not form.errors and values["target_gravity"] >= values["original_gravity"]:  # type: ignore[operator]
            form.errors["target_gravity"] = "Must be below the original gravity: yeast eats sugar."
        if form.errors:
            return render_template("batches/edit.html", batch=batch, form=form), 422
        if batch is None:
            cursor = connection().execute(
                "INSERT INTO batch (user_id, name, style, status, volume_l, original_gravity, target_gravity,"
                " brewed_on, notes) VALUES (:user_id, :name, :style, :status, :volume_l, :original_gravity,"
                " :target_gravity, :brewed_on, :notes)",
                {**values, "user_id": g.user["id"]},
            )
            batch_id = cursor.lastrowid
            flash(f"“{values['name']}” is in the log.")
        else:
            connection().execute(
                "UPDATE batch SET name = :name, style = :style, status = :status, volume_l = :volume_l,"
                " original_gravity = :original_gravity, target_gravity = :target_gravity,"
                " brewed_on = :brewed_on, notes = :notes WHERE id = :id",
                {**values, "id": batch_id},
            )
            flash("Saved.")
        connection().commit()
        return redirect(url_for("batches.show", batch_id=batch_id))


blueprint.add_url_rule("/batches/new", view_func=EditBatch.as_view("new"))
blueprint.add_url_rule("/batches/<int:batch_id>/edit", view_func=EditBatch.as_view("edit"))


@blueprint.route("/batches/<int:batch_id>/delete", methods=["GET", "POST"])
@login_required
def delete(batch_id: int) -> ResponseReturnValue:
    batch = find_own_batch(batch_id)
    if request.method == "GET":
        return render_template("batches/delete.html", batch=batch)
    photos = connection().execute("SELECT filename FROM photo WHERE batch_id = ?", (batch_id,)).fetchall()
    connection().execute("DELETE FROM batch WHERE id = ?", (batch_id,))
    connection().commit()
    for photo in photos:
        (Path(current_app.config["PHOTO_FOLDER"]) / photo["filename"]).unlink(missing_ok=True)
    flash(f"“{batch['name']}” went down the drain.")
    return redirect(url_for("batches.index"))


@blueprint.post("/batches/<int:batch_id>/readings")
@login_required
def take_reading(batch_id: int) -> ResponseReturnValue:
    batch = find_own_batch(batch_id)
    form = Form(request.form)
    gravity = form.number("gravity", 0.98, 1.2)
    temperature_c = form.number("temperature_c", -5, 45)
    if form.errors:
        return show_batch(batch, form)
    add_reading(batch_id, gravity, temperature_c)
    flash(f"Noted: {gravity:.3f} at {temperature_c:g} °C.")
    return redirect(url_for("batches.show", batch_id=batch_id))


@blueprint.route("/batches/<int:batch_id>/readings.csv")
def export_readings(batch_id: int) -> ResponseReturnValue:
    """Stream the readings as CSV, one row at a time."""
    batch = find_batch(batch_id)

    def rows() -> Iterator[str]:
        yield "taken_at,gravity,temperature_c,abv\r\n"
        line = io.StringIO()
        write = csv.writer(line).writerow
        for reading in find_readings(batch_id):
            alcohol = brewing.abv(batch["original_gravity"], reading["gravity"])
            write([reading["taken_at"], f"{reading['gravity']:.3f}", reading["temperature_c"], f"{alcohol:.2f}"])
            yield line.getvalue()
            line.seek(0)
            line.truncate()

    headers = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"'}
    return current_app.response_class(stream_with_context(rows()), mimetype="text/csv", headers=headers)


@blueprint.post("/batches/<int:batch_id>/photos")
@login_required
def add_photo(batch_id: int) -> ResponseReturnValue:
    batch = find_own_batch(batch_id)
    form = Form(request.form)
    caption = form.text("caption", at_most=80)
    upload = request.files.get("photo")
    if upload is None or not upload.filename:
        form.errors["photo"] = "Choose a picture first."
    elif (suffix := picture_suffix(upload)) is None:
        form.errors["photo"] = "This is not a PNG, JPEG, GIF or WebP picture."
    if form.errors or upload is None:
        return show_batch(batch, form)
    filename = f"{secrets.token_hex(12)}{suffix}"
    upload.save(Path(current_app.config["PHOTO_FOLDER"]) / filename)
    connection().execute(
        "INSERT INTO photo (batch_id, filename, caption) VALUES (?, ?, ?)", (batch_id, filename, caption)
    )
    connection().commit()
    flash("A lovely picture.")
    return redirect(url_for("batches.show", batch_id=batch_id) + "#photos")


def picture_suffix(upload: FileStorage) -> str | None:
    """Return the file name suffix for what *upload* really holds, or None if it is no picture."""
    start = upload.stream.read(12)
    upload.stream.seek(0)
    if start.startswith(b"RIFF") and start[8:] != b"WEBP":
        return None
    return next((suffix for magic, suffix in PICTURES.items() if start.startswith(magic)), None)


@blueprint.route("/photos/<filename>")
def photo(filename: str) -> ResponseReturnValue:
    return send_from_directory(current_app.config["PHOTO_FOLDER"], filename, max_age=86400)
