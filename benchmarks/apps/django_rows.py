"""A row of a database by Django's own mapper."""

from __future__ import annotations

from cellar import FILES
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    # A connection is kept, as the others keep theirs.
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FILES / "rows.sqlite", "CONN_MAX_AGE": None}
    },
)
app = get_wsgi_application()

# Models can be defined only now.
from django.db import models  # noqa: E402
from django.shortcuts import get_object_or_404  # noqa: E402


class Cask(models.Model):
    """A row."""

    name = models.TextField()
    litres = models.IntegerField()

    class Meta:
        """Where it is."""

        app_label = "cellar"
        db_table = "casks"

    def as_dict(self) -> dict[str, int | str]:
        """Return what the applications answer."""
        return {"id": self.id, "name": self.name, "litres": self.litres}


def row(request: HttpRequest, number: int) -> JsonResponse:
    """Return a row."""
    return JsonResponse(get_object_or_404(Cask, pk=number).as_dict())


urlpatterns = [path("rows/<int:number>", row)]
