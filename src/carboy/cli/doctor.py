"""The command ``doctor``: what to expect of an application on carboy."""

from __future__ import annotations

import json
import textwrap

import click

from .discovery import NoAppException, ScriptInfo, pass_script_info

_MARKS = {"good": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "red")}
_WIDTH = 100


@click.command("doctor", short_help="Examine an application that comes from Flask.")
@click.argument("application", metavar="[APP]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_script_info
def doctor_command(info: ScriptInfo, application: str | None, as_json: bool) -> None:
    """Load an application and say what to expect of it on carboy.

    APP is like the value of --app: a module or file, perhaps with ':name'. Nothing is served and no request is made;
    but loading runs the application's own code.

    The exit code is 0 if all is well, 1 if there are problems, 2 if the application cannot be loaded.
    """
    from ..doctor import examine

    if application is not None:
        info.app_import_path = application
    try:
        app = info.load_app()
    except NoAppException as e:
        raise click.UsageError(e.format_message()) from e
    with app.app_context():
        report = examine(app)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        click.echo(f"{report.application} on carboy")
        for topic, findings in report.topics.items():
            click.echo(f"\n{click.style(topic, bold=True)}")
            for finding in findings:
                word, colour = _MARKS[finding.level]
                click.echo(f"  {click.style(f'{word:7}', fg=colour)}  {finding.subject}")
                _echo_indented(finding.text, " " * 11)
                if finding.fix:
                    _echo_indented(finding.fix, " " * 11, "-> ")
        count = report.problems
        click.echo(f"\n{'No problems' if not count else f'{count} problem' + 's' * (count > 1)} found.")
    raise SystemExit(1 if report.problems else 0)


def _echo_indented(text: str, indent: str, mark: str = "") -> None:
    click.echo(
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=indent + mark,
            subsequent_indent=indent + " " * len(mark),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
