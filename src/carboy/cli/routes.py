"""The command ``routes``: what the application answers to."""

from __future__ import annotations

import click

from ..context import current_app_context
from .groups import with_appcontext


@click.command("routes", short_help="Show the routes of the application.")
@click.option(
    "--sort",
    "-s",
    type=click.Choice(("endpoint", "methods", "domain", "rule", "match")),
    default="endpoint",
    help="The column to sort by; 'match' keeps the order of the URL map.",
)
@click.option("--all-methods", is_flag=True, help="Also show the methods HEAD and OPTIONS.")
@with_appcontext
def routes_command(sort: str, all_methods: bool) -> None:
    """Show every route with its endpoint and methods."""
    url_map = current_app_context().app.url_map
    hidden = frozenset() if all_methods else frozenset({"HEAD", "OPTIONS"})
    rows = [
        {
            "endpoint": rule.endpoint,
            "methods": "WebSocket" if rule.websocket else ", ".join(sorted((rule.methods or set()) - hidden)),
            "domain": (rule.host if url_map.host_matching else rule.subdomain) or "",
            "rule": rule.rule,
        }
        for rule in url_map.iter_rules()
    ]
    if not rows:
        click.echo("No routes were registered.")
        return

    titles = {
        "endpoint": "Endpoint",
        "methods": "Methods",
        "domain": "Host" if url_map.host_matching else "Subdomain",
        "rule": "Rule",
    }
    if not any(row["domain"] for row in rows):
        del titles["domain"]
    if sort in titles:
        rows.sort(key=lambda row: row[sort])

    widths = {column: max(len(title), *(len(row[column]) for row in rows)) for column, title in titles.items()}
    underlines = {column: "-" * width for column, width in widths.items()}
    for row in (titles, underlines, *rows):
        click.echo("  ".join(f"{row[column]:<{width}}" for column, width in widths.items()))
