"""Finds calls in async functions that hold up the event loop, by reading their source."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
import typing as t
from types import BuiltinFunctionType, FunctionType, ModuleType

from .findings import Finding, Level

# A call by its full name, and what to write instead.
CALLS = {
    "time.sleep": "await asyncio.sleep(…)",
    "os.system": "await asyncio.create_subprocess_shell(…)",
    "urllib.request.urlopen": "an async HTTP client such as httpx.AsyncClient",
    "input": "nothing: a server has nobody to ask",
    "socket.create_connection": "await asyncio.open_connection(…)",
    "smtplib.SMTP": "await asyncio.to_thread(…)",
    "sqlite3.connect": "await asyncio.to_thread(…), or aiosqlite",
    "psycopg2.connect": "await psycopg.AsyncConnection.connect(…)",
    "psycopg.connect": "await psycopg.AsyncConnection.connect(…)",
    "pymysql.connect": "await aiomysql.connect(…)",
    "MySQLdb.connect": "await aiomysql.connect(…)",
    "pymongo.MongoClient": "pymongo.AsyncMongoClient(…)",
    "open": "await asyncio.to_thread(…) if the file is large or remote",
}
# The same for all functions of a module.
MODULES = {
    "requests": "an async HTTP client such as httpx.AsyncClient",
    "subprocess": "await asyncio.create_subprocess_exec(…)",
    "shutil": "await asyncio.to_thread(…)",
    "boto3": "await asyncio.to_thread(…)",
}
# Functions of such modules that do not block.
_HARMLESS = frozenset({"requests.Request", "subprocess.list2cmdline", "shutil.which"})
# What reaches the database, on Flask-SQLAlchemy's object and its models.
_DATABASE = frozenset(
    {"session", "query", "get_or_404", "first_or_404", "one_or_404", "paginate", "create_all", "drop_all"}
)
_IN_MEMORY = frozenset({"add", "add_all", "delete", "expunge", "expunge_all"})


def blocking_calls(functions: t.Iterable[tuple[str, t.Callable[..., t.Any]]]) -> t.Iterator[Finding]:
    """Yield a finding for each blocking call that can be seen.

    Args:
        functions: What each is ("the view of 'index'"), and the function. Those that are not async, or have no source,
            are left out.
    """
    seen = set()
    for what, function in functions:
        inner: t.Any = inspect.unwrap(function)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            for place, call, instead in _calls_in(inner):
                if place not in seen:
                    seen.add(place)
                    # Small local files are read in no time; nobody knows what a database or a network does.
                    level: Level = "note" if call == "open" else "problem"
                    yield Finding(level, place, f"{call}() holds up the event loop, in {what}", f"use {instead}")


def _calls_in(function: t.Any) -> t.Iterator[tuple[str, str, str]]:
    try:
        lines, first = inspect.getsourcelines(function)
        (body,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return
    names = vars(builtins) | function.__globals__ | inspect.getclosurevars(function).nonlocals
    imported = _imported_in(body)
    file = inspect.getsourcefile(function) or "?"
    awaited = {id(node.value) for node in ast.walk(body) if isinstance(node, ast.Await)}
    for node in _nodes_of(body):
        if isinstance(node, ast.Call) and id(node) not in awaited:
            words = _words(node.func)
            instead = _instead_of(words, names, imported)
            if instead is not None:
                yield f"{file}:{first + node.lineno - 1}", ".".join(words), instead


def _nodes_of(node: ast.AST) -> t.Iterator[ast.AST]:
    """Yield what is below *node*, but not the functions inside, which may run elsewhere."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _nodes_of(child)


def _imported_in(body: ast.AST) -> dict[str, str]:
    """Return the names that a function imports for itself, and what they stand for."""
    names: dict[str, str] = {}
    for node in _nodes_of(body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _words(node: ast.AST) -> list[str]:
    """Return ``["a", "b", "c"]`` for ``a.b.c``, and nothing for any other expression."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
        # model.query.filter_by(…).all() reaches the database as model.query does.
        while isinstance(node, ast.Call):
            node = node.func
    return [node.id, *words] if isinstance(node, ast.Name) else []


def _instead_of(words: list[str], names: dict[str, t.Any], imported: dict[str, str]) -> str | None:
    """Return what to write in the place of a call, if it blocks."""
    if not words or (words[0] not in imported and words[0] not in names):
        return None
    root = names.get(words[0])
    if words[0] in imported:
        name = ".".join([imported[words[0]], *words[1:]])
    elif _is_of_flask_sqlalchemy(root):
        reaches = len(words) > 1 and words[1] in _DATABASE and words[-1] not in _IN_MEMORY
        return "await asyncio.to_thread(…) for all of the work with the database" if reaches else None
    elif isinstance(root, ModuleType):
        name = ".".join([root.__name__, *words[1:]])
    elif root is open:
        name = "open"
    elif isinstance(root, (type, FunctionType, BuiltinFunctionType)):
        name = ".".join([root.__module__ or "", root.__qualname__, *words[1:]])
    else:
        # An object, perhaps a proxy of something that is not there now: nothing is known of its methods.
        return None
    name = name.removeprefix("builtins.")
    if name in _HARMLESS:
        return None
    return CALLS.get(name) or MODULES.get(name.partition(".")[0])


def _is_of_flask_sqlalchemy(root: t.Any) -> bool:
    classes = root.__mro__ if isinstance(root, type) else type(root).__mro__
    return any(cls.__module__.partition(".")[0] == "flask_sqlalchemy" for cls in classes)
