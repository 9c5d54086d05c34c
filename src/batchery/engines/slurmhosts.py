"""Hosts of a training job on a Slurm cluster: one job with a task for each, so one allocation for all of them. Pure.

Theory of operation
-------------------
The attempt is one of several containers (slurmpod.py), its order is sent as any other, only wider. Its script is `srun`
of one line of sh a task. Each task writes where it is into ``host.<number>`` of the attempt's directory. Task 0 becomes
the wrapper, as in other attempts, and so the pod script, which runs algo-1; it waits until all have said where they
are and writes the hosts' addresses where each host looks for them. The others become the script below:

    go.<number>                        made by the pod script: the container is to begin
    begun.<number>, failed.<number>    made here: it has, or cannot
    TERM.<number>, KILL.<number>       made by the pod script: signals
    code.<number>                      made here: how it ended

To the pod script a container elsewhere is a process of its own that waits for these files. A task whose attempt is
over, or gone, ends its container and itself; of a job that Slurm made twice the first to claim a container has it. A
task that is killed takes the job along (`--kill-on-bad-exit`), and so does a node that is lost: then the attempt has
lost its host.

srun and scancel have to be on the nodes for this, beside sh.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from batchery.engines.slurmpod import BECOME
from batchery.engines.slurmscript import WRAPPER_NAME, quote
from batchery.engines.slurmstate import Node
from batchery.engines.slurmstep import step_script

LOOK_S: Final = 0.2  #: between two looks of a task for what it is to do

FAR: Final = (
    r"""# Batchery's host script: runs one of an attempt's containers. Made by the server; changes here are lost.
_b_at=$1 _b_me=$2 _b_gpus=$3 _b_job=$4 _b_node=$5
exec 2>/dev/null
trap '' URG
until [ -e "$_b_at/go.$_b_me" ]; do
  [ -e "$_b_at/order" ] && [ ! -e "$_b_at/exit" ] || exit 0
  sleep 0.2
done
cd "$_b_at/work" || exit 0
set -C
echo "$_b_node $$" >"../claim.$_b_me" || exit 0
set +C
if [ -x /usr/bin/setsid ]; then _b_setsid=/usr/bin/setsid; else _b_setsid=; fi
_b_phase=table
. ../order
_b_has_begun() { : >"../begun.$1"; }
"""
    + BECOME
    + r"""
_b_signal() { kill -"$1" -"$_b_p" || kill -"$1" "$_b_p"; }
export SLURM_JOB_ID="$_b_job" SLURMD_NODENAME="$_b_node"
[ -z "$_b_gpus" ] || export CUDA_VISIBLE_DEVICES="$_b_gpus"
(trap - URG; _b_become "$_b_me") &
_b_p=$! _b_told=
while kill -0 "$_b_p"; do
  if [ -e "../KILL.$_b_me" ] || [ -e ../exit ] || [ ! -e ../order ]; then
    _b_signal KILL
  elif [ -e "../TERM.$_b_me" ] && [ -z "$_b_told" ]; then
    _b_told=1
    _b_signal TERM
  fi
  sleep 0.2
done
wait "$_b_p"
_b_code=$?
kill -KILL -"$_b_p"
echo "$_b_code" >"../code.$_b_me"
exit 0
"""
)

#: As of the wrapper: its name changes with its text.
FAR_NAME: Final = f"host-{hashlib.sha256(FAR.encode()).hexdigest()[:12]}"


def hosts_script(shared: str, submission: str, nodes: Iterable[Node]) -> str:
    """What sbatch is given. ``nodes``: of the cluster, with the addresses that Slurm reaches them at."""
    place = quote(f"{shared}/sent/{submission}")
    where = {node.name: node.address for node in nodes if node.address}
    known = " ".join(f"{quote(name)}) a={quote(address)};;" for name, address in where.items())
    clean = 'env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$HOME" TMPDIR="${TMPDIR:-/tmp}" LANG=C.UTF-8 /bin/sh'
    task = (
        f'at={place}/0; [ -d "$at" ] || exit 0; a=$SLURMD_NODENAME; case $a in {known} esac; '
        'case $a in *[!0-9.]*) b=$(getent ahostsv4 "$a") && a=${b%% *};; esac; '
        'echo "$a" >"$at/host.$SLURM_PROCID"; '
        f'if [ "$SLURM_PROCID" = 0 ]; then exec {clean} {quote(f"{shared}/{WRAPPER_NAME}")} "$at" '
        f'{quote(f"{shared}/news")} "$SLURM_JOB_ID" "$SLURMD_NODENAME" "${{CUDA_VISIBLE_DEVICES-}}"; '
        f'else exec {clean} {quote(f"{shared}/{FAR_NAME}")} "$at" "$SLURM_PROCID" "${{CUDA_VISIBLE_DEVICES-}}" '
        '"$SLURM_JOB_ID" "$SLURMD_NODENAME"; fi'
    )
    return step_script(task, kill_on_bad_exit=1)
