"""The JSON API, for instruments that write readings by themselves. Errors are JSON too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload
from werkzeug.exceptions import HTTPException

from carboy import Blueprint, abort, current_app, g, jsonify, request, url_for
from carboy.typing import ResponseReturnValue
from carboy.views import MethodView

from . import brewing
from .batches import add_reading, find_own_batch, newest_first
from .models import Batch, User, db

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.before_request
def load_user_of_token() -> None:
    """A cookie does not count here; the user is the one whose token the request carries."""
    g.user = None
    if request.authorization is not None and request.authorization.type == "bearer":
        g.user = db.session.scalar(select(User).where(User.api_token == request.authorization.token))


@blueprint.errorhandler(HTTPException)
def error_as_json(error: HTTPException) -> ResponseReturnValue:
    response = jsonify(error={"code": error.code, "name": error.name, "description": error.description})
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response, error.code or 500


def as_json(batch: Batch) -> dict[str, Any]:
    """Return one batch as the API shows it."""
    current = batch.gravity
    return {
        "id": batch.id,
        "name": batch.name,
        "brewer": batch.brewer.name,
        "style": batch.style,
        "status": batch.status,
        "volume_l": batch.volume_l,
        "brewed_on": batch.brewed_on.isoformat(),
        "original_gravity": batch.original_gravity,
        "target_gravity": batch.target_gravity,
        "gravity": current,
        "abv": None if current is None else round(brewing.abv(batch.original_gravity, current), 2),
        "url": url_for("batches.show", batch_id=batch.id, _external=True),
    }


class BatchList(MethodView):
    """``/api/batches``: all batches, a page at a time, with ``Link`` headers. Async, like `OneBatch`."""

    async def get(self) -> ResponseReturnValue:
        page = await db.aio.paginate(newest_first(), per_page=current_app.config["PAGE_SIZE"])
        return page.as_json(as_json)


class OneBatch(MethodView):
    """``/api/batches/<id>``: one batch with its readings."""

    async def get(self, batch_id: int) -> ResponseReturnValue:
        # Async code cannot load an attribute by looking at it: what is shown is asked for.
        batch = await db.aio.get_or_404(Batch, batch_id, options=[selectinload(Batch.readings)])
        readings = [
            {
                "taken_at": reading.taken_at.isoformat("T", "minutes"),
                "gravity": reading.gravity,
                "temperature_c": reading.temperature_c,
            }
            for reading in batch.readings
        ]
        return {**as_json(batch), "readings": readings}


class Readings(MethodView):
    """``/api/batches/<id>/readings``: where a hydrometer posts what it measured."""

    def post(self, batch_id: int) -> ResponseReturnValue:
        if g.user is None:
            abort(401, "Send your token: 'Authorization: Bearer …'. It is on your account page.")
        batch = find_own_batch(batch_id)
        sent = request.get_json()
        try:
            gravity, temperature_c = float(sent["gravity"]), float(sent["temperature_c"])
        except (KeyError, TypeError, ValueError):
            abort(422, "Send an object with the numbers 'gravity' and 'temperature_c'.")
        if not 0.98 <= gravity <= 1.2 or not -5 <= temperature_c <= 45:
            abort(422, "'gravity' must be from 0.98 to 1.2 and 'temperature_c' from -5 to 45.")
        reading = add_reading(batch, gravity, temperature_c)
        alcohol = round(brewing.abv(batch.original_gravity, gravity), 2)
        return {"id": reading.id, "gravity": gravity, "temperature_c": temperature_c, "abv": alcohol}, 201


blueprint.add_url_rule("/batches", view_func=BatchList.as_view("batches"))
blueprint.add_url_rule("/batches/<int:batch_id>", view_func=OneBatch.as_view("batch"))
blueprint.add_url_rule("/batches/<int:batch_id>/readings", view_func=Readings.as_view("readings"))


@blueprint.route("/")
def root() -> ResponseReturnValue:
    return {"batches": url_for("api.batches", _external=True)}
