"""`batchery import`: what an AWS account, or another Batchery, has for jobs to run with, made here too."""

import json
from collections import Counter

import click

from batchery.cli.bring.account import aws, batchery
from batchery.cli.bring.steps import FAILED, Import, Line, Wishes, as_document
from batchery.cli.problem import Problem, told
from batchery.cli.screen import columns
from batchery.cli.target import find

HEADING = ("WHAT", "NAME", "", "NOTES")


@click.command("import", short_help="Copy queues, environments and definitions of an AWS account.")
@click.option("--endpoint-url", metavar="URL", default="", help="What to read, if it is not AWS.")
@click.option("--profile", metavar="NAME", default="", help="Whose credentials to read with (default: boto3's own).")
@click.option("--region", metavar="NAME", default="", help="The region to read (default: boto3's own).")
@click.option("--definition", "patterns", metavar="PATTERN", multiple=True, help="Only definitions named so (* and ?).")
@click.option("--all-revisions", is_flag=True, help="Every ACTIVE revision, not only the newest of each name.")
@click.option("--keep", is_flag=True, help="Leave alone what is here and differs.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(
    options: tuple[str, str],
    endpoint_url: str,
    profile: str,
    region: str,
    patterns: tuple[str, ...],
    all_revisions: bool,
    keep: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy scheduling policies, consumable resources, environments, job queues, quota shares and job definitions.

    They are read with boto3 (pip install 'batchery[aws]'), which changes nothing there, and made through the API of
    this Batchery, in the region of `batchery --region`. What is here already is changed where it differs; nothing is
    deleted; a second run changes nothing. Jobs and logs are not copied.

    \b
    Examples:
      batchery import --profile work --region eu-west-1 --dry-run
      batchery import --endpoint-url http://127.0.0.1:5000
    """
    wishes = Wishes(dry_run, keep, all_revisions, patterns)
    with told(), (target := find(url=options[0], region=options[1])).client() as client:
        target.health()
        source, where = aws(endpoint_url, profile, region, target)
        if not as_json:
            click.echo(f"From {where} to {target.url} ({target.region}){', dry run' if dry_run else ''}")
        lines = list(Import(source, batchery(client), wishes).run())
    if as_json:
        click.echo(json.dumps({"from": where, "dryRun": dry_run, "resources": as_document(lines)}, indent=2))
    else:
        report(lines)
    failed = sum(line.outcome == FAILED for line in lines)
    if failed:
        raise Problem(f"{failed} of {len(lines)} could not be imported.")


def report(lines: list[Line]) -> None:
    """A line each, then how many of which outcome."""
    if lines:
        rows = [(line.kind, line.name, line.outcome, "; ".join(line.notes)) for line in lines]
        for text in columns([HEADING, *rows]):
            click.echo(text)
    counts = Counter(line.outcome for line in lines)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "Nothing is there.")
