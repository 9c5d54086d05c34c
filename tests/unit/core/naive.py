"""The rules once more, as naively as they can be said: a dict per job, a dict per child, loops until nothing changes.

No tables, no bits, no queues of due work, no schedule: which child is placed is told from outside. `test_core_model.py`
drives this and the core with the same events, and they must agree on everything that a client can see.
"""

from typing import Any

ENDED = ("SUCCEEDED", "FAILED")
LIVE = ("OFFERED", "STARTING", "RUNNING")
EXITED = "Essential container in task exited"


class Naive:
    """``jobs``: id -> {"children": [...], "size", "needs", "asked", "end", ...}; see `submit`."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}

    # ------------------------------------------------------------------------------------------------- commands

    def submit(self, name: str, size: int, needs: list[tuple[str, int, str]], attempts: int, exits_on: str) -> None:
        """``needs``: (job, index or -1, "whole" | "n_to_n" | "sequential"); ``exits_on``: an exit code not retried."""
        self.jobs[name] = {
            "size": size,
            "needs": needs,
            "attempts": attempts,
            "exits_on": exits_on,
            "asked": None,
            "end": None,
            "children": [
                {"status": "SUBMITTED", "reason": "", "asked": None, "recall": None, "used": 0, "index": index}
                for index in range(size or 1)
            ],
        }

    def evaluate(self) -> None:
        for job in self.jobs.values():
            for child in job["children"]:
                if child["status"] == "SUBMITTED":
                    child["status"] = "PENDING"
        self.settle()

    def cancel(self, name: str, index: int | None, reason: str, now: int) -> None:
        job = self.jobs[name]
        if job["end"]:
            return
        if index is None and job["size"]:
            if job["asked"]:
                return
            job["asked"] = {"kinds": {"cancelled"}, "reason": reason, "killed": None}
            for child in job["children"]:
                self._cancel_child(job, child, reason)
        else:
            child = job["children"][index or 0]
            if child["asked"] or job["asked"]:
                return
            if child["status"] in ("SUBMITTED", "PENDING", "RUNNABLE"):
                child["asked"] = {"kinds": {"cancelled"}, "reason": reason, "killed": None}
            self._cancel_child(job, child, reason)
        self.settle()

    def _cancel_child(self, job: dict[str, Any], child: dict[str, Any], reason: str) -> None:
        if child["status"] in ("SUBMITTED", "RUNNABLE"):
            self._fail(child, reason)
        elif child["status"] == "PENDING":
            child["status"] = "CLOSING"
        elif child["status"] == "OFFERED" and child["recall"] is None:
            child["recall"] = reason

    def terminate(self, name: str, index: int | None, reason: str, now: int) -> None:
        job = self.jobs[name]
        if job["end"]:
            return
        if index is None and job["size"]:
            if job["asked"] and "terminated" in job["asked"]["kinds"]:
                return
            job["asked"] = self._added(job["asked"], job["asked"], reason, now)
            scope = job["children"]
        else:
            child = job["children"][index or 0]
            known = [asked["kinds"] for asked in (job["asked"], child["asked"]) if asked]
            if child["status"] in ENDED or any("terminated" in kinds for kinds in known):
                return
            first = child["asked"] or job["asked"]
            child["asked"] = self._added(child["asked"], first, reason, now)
            scope = [child]
        for child in scope:
            words = (child["asked"] or job["asked"])["reason"]
            if child["status"] in ("SUBMITTED", "RUNNABLE"):
                self._fail(child, words)
            elif child["status"] == "PENDING":
                child["status"] = "CLOSING"
        self.settle()

    def _added(self, old: Any, first: Any, reason: str, now: int) -> dict[str, Any]:
        kinds = {"terminated"} | (old["kinds"] if old else set())
        return {"kinds": kinds, "reason": first["reason"] if first else reason, "killed": now}

    # --------------------------------------------------------------------------------------------------- engine

    def placed(self, name: str, index: int) -> None:
        child = self.jobs[name]["children"][index]
        assert child["status"] == "RUNNABLE", f"{name}:{index} was {child['status']} when it was placed"
        child["status"] = "OFFERED"

    def began(self, name: str, index: int, status: str) -> None:
        child = self.jobs[name]["children"][index]
        if LIVE.index(status) > LIVE.index(child["status"]):
            child["status"], child["recall"] = status, None

    def over(self, name: str, index: int, cause: str, code: int | None, ran: bool, at: int) -> None:
        """The attempt is over. ``at``: when, on the same clock as requests."""
        job, child = self.jobs[name], self.jobs[name]["children"][index]
        asks = [asked for asked in (child["asked"], job["asked"]) if asked]
        first = asks[0] if asks else None
        kills = [asked["killed"] for asked in asks if asked["killed"] is not None]
        recall = child["recall"] if cause != "EXIT" and not ran else None
        words = recall or (first["reason"] if first else "")
        child["recall"] = None
        never = cause in ("WITHDRAWN", "NO_CAPACITY")
        killed = not never and kills and at >= min(kills)
        if recall and not any("cancelled" in asked["kinds"] for asked in asks):
            child["asked"] = child["asked"] or {"kinds": set(), "reason": words, "killed": None}
            child["asked"]["kinds"].add("cancelled")
        if killed or cause == "TERMINATED":
            self._fail(child, words or "Terminated")
        elif never or recall:
            if words:
                self._fail(child, words)
            else:
                child["status"] = "RUNNABLE"
        elif cause == "EXIT" and code == 0:
            child["status"], child["reason"] = "SUCCEEDED", EXITED
            child["used"] += 1
        else:
            self._try_again(job, child, cause, code, bool(asks))
        self.settle()

    def _try_again(self, job: dict[str, Any], child: dict[str, Any], cause: str, code: int | None, asked: bool) -> None:
        child["used"] += 1
        says = {
            "EXIT": EXITED,
            "START_FAILED": "Task failed to start",
            "TIMEOUT": "Job attempt duration exceeded timeout",
            "HOST": "Host EC2 (instance i-1) terminated.",
        }[cause]
        out = asked or cause == "TIMEOUT" or child["used"] >= job["attempts"] or str(code) == job["exits_on"]
        if out:
            self._fail(child, says)
        else:
            child["status"] = "RUNNABLE"

    def _fail(self, child: dict[str, Any], reason: str) -> None:
        child["status"], child["reason"], child["recall"] = "FAILED", reason, None

    # ---------------------------------------------------------------------------------------------- consequences

    def settle(self) -> None:
        """Look at every child of every job, again and again, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for job in self.jobs.values():
                if job["end"]:
                    continue
                for child in job["children"]:
                    changed |= self._settle_child(job, child)
                changed |= self._close(job)

    def _settle_child(self, job: dict[str, Any], child: dict[str, Any]) -> bool:
        looks = self._looks(job, child["index"])
        if child["status"] == "PENDING" and "FAILED" in looks:
            self._fail(child, "Dependent Job failed")
        elif child["status"] == "PENDING" and all(look == "SUCCEEDED" for look in looks):
            child["status"] = "RUNNABLE"
        elif child["status"] == "CLOSING" and all(look in ENDED for look in looks):
            self._fail(child, (child["asked"] or job["asked"])["reason"])
        else:
            return False
        return True

    def _looks(self, job: dict[str, Any], index: int) -> list[str]:
        """The status of each thing that this child waits for."""
        looks = []
        for name, number, kind in job["needs"]:
            if kind == "sequential":
                if index and job["size"] and not job["asked"]:
                    before = [child["status"] for child in job["children"][:index]]
                    looks.append("FAILED" if "FAILED" in before else before[-1])  # a failed child fails all later ones
            elif kind == "n_to_n":
                looks.append(self.jobs[name]["children"][index]["status"])
            elif number >= 0:
                looks.append(self.jobs[name]["children"][number]["status"])
            else:
                end = self.jobs[name]["end"]
                looks.append(end[0] if end else "PENDING")
        return looks

    def _close(self, job: dict[str, Any]) -> bool:
        if any(child["status"] not in ENDED for child in job["children"]):
            return False
        failed = any(child["status"] == "FAILED" for child in job["children"])
        if not job["size"]:
            child = job["children"][0]
            job["end"] = (child["status"], child["reason"])
        elif job["asked"]:
            job["end"] = ("FAILED", job["asked"]["reason"])
        elif not failed:
            job["end"] = ("SUCCEEDED", "")
        elif any(look == "FAILED" for look in self._whole_looks(job)):
            job["end"] = ("FAILED", "Dependent Job failed")
        else:
            job["end"] = ("FAILED", "Array Child Job failed")
        return True

    def _whole_looks(self, job: dict[str, Any]) -> list[str]:
        whole = {**job, "needs": [need for need in job["needs"] if need[2] == "whole"]}
        return self._looks(whole, 0)

    # ---------------------------------------------------------------------------------------------------- looking

    def stopping(self, name: str, index: int) -> tuple[str | None, bool]:
        """The words with which a task was asked back, if it was; and whether it is to be killed."""
        child = self.jobs[name]["children"][index]
        asks = [asked for asked in (child["asked"], self.jobs[name]["asked"]) if asked]
        return child["recall"], any("terminated" in asked["kinds"] for asked in asks)

    def shown(self, name: str, index: int | None) -> tuple[str, str, set[str]]:
        """Status, reason and flags of a job or a child, as DescribeJobs shows them."""
        job = self.jobs[name]
        if index is None and job["size"]:
            fresh = any(child["status"] == "SUBMITTED" for child in job["children"])
            status, reason = job["end"] or ("SUBMITTED" if fresh else "PENDING", "")
            asked = job["asked"]
            return status, reason or (asked["reason"] if asked else ""), set(asked["kinds"]) if asked else set()
        child = job["children"][index or 0]
        asks = [asked for asked in (child["asked"], job["asked"]) if asked]
        flags = set().union(*(asked["kinds"] for asked in asks))
        reason = asks[0]["reason"] if asks else ""
        if child["recall"] is not None:
            flags, reason = flags | {"cancelled"}, child["recall"]
        status = child["status"]
        if status in ENDED:
            reason = child["reason"]
        return {"CLOSING": "PENDING", "OFFERED": "RUNNABLE"}.get(status, status), reason, flags
