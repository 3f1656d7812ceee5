"""The batches: the list, one batch with its curve, and everything its brewer can change."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Select, func, select
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
from .forms import Form
from .models import Batch, Photo, Reading, db

blueprint = Blueprint("batches", __name__)

# The first bytes of each picture format that browsers show. The name of an upload proves nothing.
PICTURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp"}


def newest_first(status: str | None = None) -> Select[Batch]:
    """Select the batches, or those of one state."""
    batches = select(Batch).order_by(Batch.brewed_on.desc(), Batch.id.desc())
    return batches if status is None else batches.where(Batch.status == status)


def find_batch(batch_id: int) -> Batch:
    """Return one batch, or answer 404."""
    return db.get_or_404(Batch, batch_id, description="There is no such batch. Somebody may have emptied the carboy.")


def find_own_batch(batch_id: int) -> Batch:
    """Return one batch of the logged-in user; anybody else's answers 403."""
    batch = find_batch(batch_id)
    if batch.brewer is not g.user:
        abort(403, f"This batch belongs to {batch.brewer.name}. Look, but do not stir.")
    return batch


def add_reading(batch: Batch, gravity: float, temperature_c: float) -> Reading:
    """Store a reading taken now."""
    reading = Reading(batch_id=batch.id, gravity=gravity, temperature_c=temperature_c)
    with db.transaction():
        db.session.add(reading)
    return reading


@blueprint.route("/")
def index() -> ResponseReturnValue:
    status = request.args.get("status")
    if status and status not in brewing.STATUSES:
        abort(404)
    batches = db.paginate(newest_first(status), per_page=current_app.config["PAGE_SIZE"])
    counts = dict(db.session.execute(select(Batch.status, func.count()).group_by(Batch.status)).all())
    return render_template(
        "batches/index.html", batches=batches, status=status, counts=counts, progress=brewing.progress
    )


@blueprint.route("/batches/<int:batch_id>")
def show(batch_id: int) -> ResponseReturnValue:
    return show_batch(find_batch(batch_id), Form({}))


def show_batch(batch: Batch, form: Form) -> ResponseReturnValue:
    """Return the page of one batch; *form* is the reading or photo form that was just refused."""
    page = render_template(
        "batches/show.html",
        batch=batch,
        curve=chart.draw(batch, batch.readings),
        abv=brewing.abv(batch.original_gravity, batch.gravity or batch.original_gravity),
        own=batch.brewer is g.user,
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
        form = Form({key: str(value) for key, value in batch.fields().items()})
        return render_template("batches/edit.html", batch=batch, form=form)

    def post(self, batch_id: int | None = None) -> ResponseReturnValue:
        batch = None if batch_id is None else find_own_batch(batch_id)
        form = Form(request.form)
        values: dict[str, Any] = {
            "name": form.text("name", at_least=3, at_most=60),
            "style": form.choice("style", brewing.STYLES),
            "status": form.choice("status", brewing.STATUSES),
            "volume_l": form.number("volume_l", 1, 500),
            "original_gravity": form.number("original_gravity", 1.02, 1.2),
            "target_gravity": form.number("target_gravity", 0.98, 1.1),
            "brewed_on": form.day("brewed_on"),
            "notes": form.text("notes", at_most=2000),
        }
        if not form.errors and values["target_gravity"] >= values["original_gravity"]:
            form.errors["target_gravity"] = "Must be below the original gravity: yeast eats sugar."
        if form.errors:
            return render_template("batches/edit.html", batch=batch, form=form), 422
        with db.transaction():
            if batch is None:
                batch = Batch(brewer=g.user, **values)
                db.session.add(batch)
                flash(f"“{batch.name}” is in the log.")
            else:
                for name, value in values.items():
                    setattr(batch, name, value)
                flash("Saved.")
        return redirect(url_for("batches.show", batch_id=batch.id))


blueprint.add_url_rule("/batches/new", view_func=EditBatch.as_view("new"))
blueprint.add_url_rule("/batches/<int:batch_id>/edit", view_func=EditBatch.as_view("edit"))


@blueprint.route("/batches/<int:batch_id>/delete", methods=["GET", "POST"])
@login_required
def delete(batch_id: int) -> ResponseReturnValue:
    batch = find_own_batch(batch_id)
    if request.method == "GET":
        return render_template("batches/delete.html", batch=batch)
    files = [Path(current_app.config["PHOTO_FOLDER"]) / photo.filename for photo in batch.photos]
    with db.transaction():
        db.session.delete(batch)
    for file in files:
        file.unlink(missing_ok=True)
    flash(f"“{batch.name}” went down the drain.")
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
    add_reading(batch, gravity, temperature_c)
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
        readings = select(Reading).where(Reading.batch_id == batch_id).order_by(Reading.taken_at, Reading.id)
        for reading in db.session.scalars(readings.execution_options(yield_per=100)):
            alcohol = brewing.abv(batch.original_gravity, reading.gravity)
            taken_at = reading.taken_at.isoformat("T", "minutes")
            write([taken_at, f"{reading.gravity:.3f}", reading.temperature_c, f"{alcohol:.2f}"])
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
    with db.transaction():
        batch.photos.append(Photo(filename=filename, caption=caption))
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
