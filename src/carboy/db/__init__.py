"""One database for sync and async code, on SQLAlchemy 2.1 and Alembic.

What a web application needs around SQLAlchemy: engines made where they may be made,
a session for each request, answers for what is not there, pages of rows, transactions
that are tried again, migrations, and what tests need. Everything underneath is plain
SQLAlchemy. Install it with ``pip install "carboy[db]"``.
"""

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401
except ModuleNotFoundError as e:
    if e.name != "sqlalchemy":
        raise
    raise ModuleNotFoundError(
        'carboy.db needs SQLAlchemy, which is not installed. Install it with: pip install "carboy[db]"', name=e.name
    ) from e

from .database import Database as Database
from .models import Identified as Identified
from .models import Model as Model
from .models import Timestamps as Timestamps
from .models import uuid7 as uuid7
from .pages import Page as Page
from .pages import Slice as Slice
from .urls import DatabaseURLError as DatabaseURLError
from .watch import BlockingQuery as BlockingQuery
from .watch import OneByOne as OneByOne
from .watch import assert_queries as assert_queries
from .watch import count_queries as count_queries
