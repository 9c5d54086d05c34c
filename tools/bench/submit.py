"""Durable, signed SubmitJob with 1, 8 and 64 connections against moto's server, which stores nothing and checks no
signature; then durable CancelJob."""

from collections.abc import Callable
from typing import Final

from msgspec import json

from tools.bench.load import drive
from tools.bench.report import Ratio, Report
from tools.bench.servers import Batchery, Moto

GOALS: Final = {1: 2.5, 8: 9.0, 64: 20.0}  #: connections -> times moto's rate
REQUESTS: Final = 2_000  #: signed beforehand and sent over and over: a signature is valid for five minutes
CANCELS: Final = 4_000


def submit_jobs(
    report: Report, ours: Batchery, moto: Moto | None, rounds: int, seconds: float, sync: Callable[[], None]
) -> None:
    """Rates in turns, ours and moto's at each level."""
    samples: dict[tuple[str, int], list[float]] = {}
    tails: list[float] = []
    busy: list[float] = []
    for _ in range(rounds):
        for connections in GOALS:
            sync()
            for server in (ours, moto):
                if server is None:
                    continue
                result = drive(server.address, server.signer.submits(REQUESTS), connections, seconds)
                samples.setdefault((server.name, connections), []).append(result.rate)
                if server is ours and connections == max(GOALS):
                    tails.append(result.p99)
                    busy.append(100 * result.cpu / result.seconds)
    for connections, goal in GOALS.items():
        mine = samples[ours.name, connections]
        name = f"SubmitJob, {connections} connection{'s' if connections > 1 else ''}"
        if moto is None:
            report.figure(name, "/s", mine)
        else:
            report.ratios.append(Ratio(name, "/s", mine, samples[moto.name, connections], "moto", least=goal))
    report.figure(f"SubmitJob, {max(GOALS)} connections: 99th percentile", "ms", tails)
    report.figure("load generator, CPU of one core meanwhile", "%", busy)


def cancel_jobs(report: Report, ours: Batchery, rounds: int) -> None:
    """CancelJob of jobs that wait, each its own, with 8 connections, against SubmitJob of the same ones."""
    submits, cancels = [], []
    for _ in range(rounds):
        made = drive(ours.address, ours.signer.submits(CANCELS), 8, 60, count=CANCELS, keep=True)
        jobs = [json.decode(body)["jobId"] for body in made.bodies]
        requests = [ours.signer.request("CancelJob", jobId=job, reason="No longer needed.") for job in jobs]
        cancels.append(drive(ours.address, requests, 8, 60, count=len(requests)).rate)
        submits.append(made.rate)
    report.ratios.append(Ratio("CancelJob, 8 connections", "/s", cancels, submits, "SubmitJob"))
