"""`batchery version`."""

import platform

import click

from batchery import __version__


@click.command("version", short_help="Say which version this is.")
def command() -> None:
    """Say which version this is, and what it runs on."""
    click.echo(f"batchery {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
