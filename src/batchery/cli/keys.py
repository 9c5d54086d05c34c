"""`batchery keys`: who may call a server that others can reach."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from batchery.api.keys import FILE, Key, Keys, KeysError
from batchery.api.policy import PolicyError
from batchery.cli.problem import Problem, told
from batchery.cli.screen import columns
from batchery.config import Config, load


@click.group("keys", short_help="Make, list and revoke access keys.")
@click.option("--data", metavar="DIR", help="The server's data directory (BATCHERY_DATA).")
@click.option("--config", "path", default="", metavar="FILE", help="Its TOML file (BATCHERY_CONFIG).")
@click.pass_context
def command(ctx: click.Context, data: str | None, path: str) -> None:
    """Make, list and revoke access keys. A running server takes notice at once.

    On loopback no keys are needed: any pair will do. On any other address the server serves only with keys.
    """
    with told():
        ctx.obj = load(path, options={"data": data})


@command.command("add")
@click.option("--account", metavar="12 DIGITS", help="Whose jobs and queues it sees. Default: the configured account.")
@click.option("--name", default="", help="Of its user, in ARNs and the activity log. Default: the key's id.")
@click.option("--policy", type=click.File(), metavar="FILE", help="An IAM policy document. Default: everything.")
@click.pass_obj
def add(config: Config, account: str | None, name: str, policy: Any) -> None:
    """Make a key pair, and show it this once.

    Of the policy, Effect, Action, NotAction and Resource with wildcards count: a Deny wins, else an Allow, else it is
    denied. Conditions are refused.

    \b
    Examples:
      batchery keys add --name ada
      batchery keys add --name ci --policy submit-only.json
    """
    try:
        document = json.load(policy) if policy else None
        key = _keys(config).add(account or config.account, name, document)
    except (KeysError, PolicyError, ValueError) as error:
        raise Problem(str(error)) from None
    click.echo(f"export BATCHERY_ACCESS_KEY_ID={key.id}")
    click.echo(f"export BATCHERY_SECRET_ACCESS_KEY={key.secret}")
    click.echo("The secret is not shown again. `batchery env` and `batchery aws` read these two variables.", err=True)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; never with secrets.")
@click.pass_obj
def list_(config: Config, as_json: bool) -> None:
    """List the keys, revoked ones too; never their secrets."""
    keys = _keys(config).list()
    if as_json:
        click.echo(json.dumps([_public(key) for key in keys], indent=2))
    elif not keys:
        click.echo("No keys. `batchery keys add` makes one.")
    else:
        rows = [("KEY", "ACCOUNT", "NAME", "POLICY", "MADE", "STATE"), *(_row(key) for key in keys)]
        for line in columns(rows):
            click.echo(line)


@command.command("revoke")
@click.argument("key", metavar="KEY")
@click.pass_obj
def revoke(config: Config, key: str) -> None:
    """Refuse a key from now on. KEY is its id (AKIA...)."""
    try:
        gone = _keys(config).revoke(key)
    except KeysError as error:
        raise Problem(str(error)) from None
    click.echo(f"{gone.id} ({gone.name}) is refused from now on.")


def _keys(config: Config) -> Keys:
    try:
        return Keys(Path(config.data, FILE))
    except KeysError as error:
        raise Problem(str(error)) from None


def _public(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account,
        "name": key.name,
        "policy": key.policy,
        "created": key.created,
        "revoked": key.revoked or None,
    }


def _row(key: Key) -> tuple[str, ...]:
    made = f"{datetime.fromtimestamp(key.created / 1000):%Y-%m-%d}"
    return (
        key.id,
        key.account,
        key.name,
        "own" if key.policy else "everything",
        made,
        "revoked" if key.revoked else "active",
    )
