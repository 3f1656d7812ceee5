"""An application with serving hooks and background tasks, each of which writes a line to ``CARBOY_TEST_RECORD``."""

import asyncio
import os
import time

import carboy

app = carboy.Carboy(__name__, static_folder=None)


def record(line):
    with open(os.environ["CARBOY_TEST_RECORD"], "a") as file:
        file.write(line + "\n")


@app.before_serving
def before():
    record("before")


@app.before_serving
async def async_before():
    # Python 3.12.1 cannot start a thread when the process ends: this one is used again then.
    await asyncio.to_thread(record, "async before")
    if "CARBOY_TEST_BROKEN" in os.environ:
        raise ConnectionRefusedError("no database")


@app.while_serving
async def around():
    record("begin")
    yield
    await asyncio.sleep(0)
    record("end")


@app.after_serving
def after():
    record("after")


@app.after_serving
async def async_after():
    await asyncio.to_thread(record, "async after")


@app.get("/")
def index():
    return "served"


@app.get("/slow")
def slow():
    record("started")
    app.add_background_task(task, "task")
    app.add_background_task(async_task, "async task")
    time.sleep(0.4)
    record("answered")
    return "served"


def task(name):
    time.sleep(0.2)
    record(name)


async def async_task(name):
    await asyncio.sleep(0.3)
    record(name)
