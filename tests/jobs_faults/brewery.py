"""The application whose worker is killed: each run of a job writes down that it began, and that it ended."""

import os
import time

from carboy import Carboy
from carboy.jobs import Jobs, current_job

app = Carboy(__name__, instance_path=os.environ["BREWERY"])
app.config.update(JOBS_URL=os.environ["JOBS_URL"], JOBS_LEASE=float(os.environ.get("JOBS_LEASE", "6")))
jobs = Jobs(app)


def note(*words):
    # One write each, so that lines of many processes do not mix.
    log = os.open(os.path.join(os.environ["BREWERY"], "runs.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, (" ".join(map(str, words)) + "\n").encode())
    os.close(log)


@jobs.job(retries=0, keep=86400)
async def brew(number, seconds):
    import asyncio

    note("began", number, current_job.attempt, os.getpid())
    await asyncio.sleep(seconds)
    note("ended", number, current_job.attempt, os.getpid())


@jobs.job(retries=0, keep=86400)
def bottle(number, seconds):
    note("began", number, current_job.attempt, os.getpid())
    time.sleep(seconds)
    note("ended", number, current_job.attempt, os.getpid())
