"""Which driver speaks to a cluster, and what the operator is told of it: by `doctor`, /health, the start-up notice."""

from batchery.config import Slurm
from batchery.engines.slurmcli import CommandLine
from batchery.engines.slurmdesk import Desk, troubled
from batchery.engines.slurmdriver import Driver
from batchery.engines.slurmrest import RestDriver


def driver_of(settings: Slurm) -> Driver:
    """How this cluster is spoken to."""
    return RestDriver(settings) if settings.rest else CommandLine(settings.conf)


def facts_of(desk: Desk) -> dict[str, str]:
    """slurmrestd does not tell everything of the settings: what is not known is left out."""
    config, nodes = desk.config, {node.name: node for node in desk.nodes}
    cluster = f", cluster {config['ClusterName']}" if "ClusterName" in config else ""
    found = {
        "slurm": f"{config.get('SLURM_VERSION', '?')}{cluster}",
        "driver": desk.driver.name,
        "nodes": f"{len(nodes)} with {sum(node.cpus for node in nodes.values())} CPUs",
    }
    if "TaskPlugin" in config:
        found["memory limits of nodes"] = "cgroups" if "cgroup" in config["TaskPlugin"] else "not by task/cgroup"
    if trouble := troubled(nodes.values()):
        found["nodes in trouble"] = f"not all nodes work: {trouble}"
    if desk.words.trouble:
        found["controller"] = f"no answer: {desk.words.trouble}"
    return found
