"""The benchmark's cases on Django, in one file."""

from __future__ import annotations

import json as codec
import time

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.decorators import decorator_from_middleware
from whitenoise import WhiteNoise

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=SECRET,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[{"BACKEND": "django.template.backends.jinja2.Jinja2", "DIRS": [TEMPLATES]}],
)


def plain(request: HttpRequest) -> HttpResponse:
    """Return text."""
    return HttpResponse("Hello, World!")


def json(request: HttpRequest) -> JsonResponse:
    """Return JSON."""
    return JsonResponse({"message": "Hello, World!"})


def order(request: HttpRequest) -> JsonResponse:
    """Read a JSON body."""
    lines = codec.loads(request.body)["lines"]
    return JsonResponse({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


def page(request: HttpRequest) -> HttpResponse:
    """Render a template."""
    return render(request, "casks.html", {"title": TITLE, "casks": CASKS})


@decorator_from_middleware(SessionMiddleware)
def visits(request: HttpRequest) -> HttpResponse:
    """Read and write the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def form(request: HttpRequest) -> HttpResponse:
    """Read a form."""
    return HttpResponse(f"{request.POST['name']}: {request.POST['litres']}")


def upload(request: HttpRequest) -> HttpResponse:
    """Read an uploaded file."""
    return HttpResponse(str(len(request.FILES["file"].read())))


def wait(request: HttpRequest) -> HttpResponse:
    """Answer after 10 ms."""
    time.sleep(0.01)
    return HttpResponse("waited")


def events(request: HttpRequest) -> StreamingHttpResponse:
    """Stream events."""
    return StreamingHttpResponse((f"data: {number}\n\n" for number in range(EVENTS)), content_type="text/event-stream")


def item(request: HttpRequest, item: int) -> JsonResponse:
    """Return JSON that holds values from the path and the query."""
    return JsonResponse({"item": item, "page": int(request.GET["page"]), "sort": request.GET["sort"]})


urlpatterns = [
    path("plain", plain),
    path("json", json),
    path("order", order),
    path("page", page),
    path("account/visits", visits),
    path("form", form),
    path("upload", upload),
    path("wait", wait),
    path("events", events),
    *(path(f"shelf{number}/items/<int:item>", item) for number in range(SHELVES)),
]

app = WhiteNoise(get_wsgi_application(), root=STATIC, prefix="static/")
