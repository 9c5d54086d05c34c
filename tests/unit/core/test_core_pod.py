"""The containers of one attempt: order, essential ones, dependencies, and how it all ends."""

import pytest

from batchery.core.model import EXIT, START_FAILED, ContainerEnd
from batchery.core.pod import AGAIN, BEGIN, COMPLETE, KILL, START, SUCCESS, TERM, Act, Part, Pod


def side(name: str, **members) -> Part:
    """One that is not essential, as ECS has it."""
    return Part(name, essential=False, decides=False, **members)


def of_pod(name: str, **members) -> Part:
    """One of a pod of Kubernetes."""
    return Part(name, essential=False, **members)


def begin(pod: Pod, *names: str, now: int = 0) -> None:
    """These are begun, no others, and they run."""
    assert pod.step(now) == [Act(BEGIN, name) for name in names]
    for name in names:
        pod.begun(name, now)


def codes(pod: Pod) -> dict[str, int | None]:
    return {end.name: end.exit_code for end in pod.ends}


def test_all_begin_at_once_where_nothing_is_waited_for():
    pod = Pod([Part("a"), side("b")])
    assert not pod.running
    begin(pod, "a", "b")
    assert pod.running
    assert pod.alive == ["a", "b"]
    assert pod.step(1) == []
    assert (pod.wake, pod.over) == (None, False)


def test_the_end_of_an_essential_one_ends_the_others():
    pod = Pod([side("log", stop_timeout=2000), Part("main")])
    begin(pod, "log", "main")
    pod.ended("main", 0)
    assert pod.step(10) == [Act(TERM, "log")]
    assert pod.wake == 2010
    assert pod.step(2009) == []
    assert pod.step(2010) == [Act(KILL, "log")]
    assert pod.wake == 2010 + AGAIN
    pod.ended("log", 137)
    assert pod.step(2020) == []
    assert pod.over
    assert pod.ends == (ContainerEnd("main", 0), ContainerEnd("log", 137, decides=False))
    assert pod.cause == EXIT


def test_a_forgiving_one_ends_the_others_only_if_it_fails():
    pod = Pod([Part(name, forgiving=True) for name in ("a", "b", "c")])
    begin(pod, "a", "b", "c")
    pod.ended("a", 0)
    assert pod.step(1) == []
    pod.ended("b", 3)
    assert pod.step(2) == [Act(TERM, "c")]
    pod.ended("c", 143)
    assert pod.step(3) == []
    assert (pod.over, pod.cause, codes(pod)) == (True, EXIT, {"a": 0, "b": 3, "c": 143})


def test_the_end_of_another_one_changes_nothing():
    pod = Pod([side("log"), Part("main")])
    begin(pod, "log", "main")
    pod.ended("log", 1)
    assert pod.step(1) == []
    assert pod.alive == ["main"]
    assert not pod.over


@pytest.mark.parametrize("condition", [COMPLETE, SUCCESS])
def test_one_that_waits_for_the_end_of_another_begins_then(condition):
    pod = Pod([Part("main", after=(("setup", condition),)), side("setup")])
    begin(pod, "setup")
    assert not pod.running
    pod.ended("setup", 0)
    begin(pod, "main", now=5)
    assert pod.running


def test_complete_is_met_by_a_failure_too():
    pod = Pod([Part("main", after=(("setup", COMPLETE),)), side("setup")])
    begin(pod, "setup")
    pod.ended("setup", 3)
    begin(pod, "main")


def test_success_of_what_failed_can_never_come():
    pod = Pod([Part("main", after=(("setup", SUCCESS),)), side("setup"), side("log")])
    begin(pod, "setup", "log")
    pod.ended("setup", 3)
    assert pod.step(1) == [Act(TERM, "log")]
    assert codes(pod) == {"setup": 3, "main": None}
    assert not pod.running
    assert pod.ends[1].reason == "CannotStartContainerError: dependency setup exited with 3"
    pod.ended("log", 143)
    assert pod.over
    assert pod.cause == START_FAILED


def test_what_nobody_decides_by_may_be_left_out():
    pod = Pod([side("setup"), side("extra", after=(("setup", SUCCESS),)), Part("main")])
    begin(pod, "setup", "main")
    pod.ended("setup", 3)
    assert pod.step(1) == []
    assert pod.running
    pod.ended("main", 0)
    assert pod.over
    assert pod.cause == EXIT


def test_start_is_met_once_the_other_runs():
    pod = Pod([Part("main", after=(("log", START),)), side("log")])
    assert pod.step(0) == [Act(BEGIN, "log")]
    assert pod.step(1) == []
    pod.begun("log", 1)
    begin(pod, "main", now=2)


def test_those_that_began_later_are_told_first():
    pod = Pod([Part("main", after=(("log", START),)), side("log"), Part("other")])
    begin(pod, "log", "other")
    begin(pod, "main")
    pod.ended("other", 0)
    assert pod.step(1) == [Act(TERM, "main")]
    pod.ended("main", 143)
    assert pod.step(2) == [Act(TERM, "log")]


def test_what_cannot_be_started_stops_the_pod_if_it_is_essential():
    pod = Pod([Part("main"), side("log"), Part("late", after=(("main", START),))])
    assert pod.step(0) == [Act(BEGIN, "main"), Act(BEGIN, "log")]
    pod.refused("main", "CannotPullContainerError: no")
    pod.begun("log", 1)
    assert pod.step(2) == [Act(TERM, "log")]
    assert pod.ends == (ContainerEnd("main", None, "CannotPullContainerError: no"), ContainerEnd("late"))
    assert pod.cause == START_FAILED


def test_what_waits_for_one_that_was_left_out_is_left_out():
    pod = Pod([side("a"), side("b", after=(("a", START),)), Part("main")])
    assert pod.step(0) == [Act(BEGIN, "a"), Act(BEGIN, "main")]
    pod.refused("a", "no")
    pod.begun("main", 0)
    assert pod.step(0) == []
    assert pod.ends[-1].reason == "CannotStartContainerError: dependency a was not started"
    assert pod.running


def test_others_do_not_wait_longer_than_the_start_timeout():
    pod = Pod([Part("main", after=(("setup", COMPLETE),)), side("setup", start_timeout=3000)])
    begin(pod, "setup", now=100)
    assert pod.step(3099) == []
    assert pod.wake == 3100
    assert pod.step(3100) == [Act(TERM, "setup")]
    assert pod.ends[0].reason == "CannotStartContainerError: dependency setup did not reach COMPLETE in 3 s"


def test_without_a_start_timeout_they_wait_for_ever():
    pod = Pod([Part("main", after=(("setup", COMPLETE),)), side("setup")])
    begin(pod, "setup")
    assert pod.step(10**9) == []
    assert pod.wake is None


def test_a_stop_ends_all_and_leaves_out_what_waits():
    pod = Pod([Part("main", after=(("setup", SUCCESS),)), side("setup")])
    begin(pod, "setup")
    pod.stop()
    assert pod.step(1) == [Act(TERM, "setup")]
    pod.stop(hurry=True)
    assert pod.step(2) == [Act(KILL, "setup")]
    assert pod.step(3) == []
    pod.ended("setup", 137)
    assert pod.step(4) == []
    assert pod.over
    assert codes(pod) == {"main": None, "setup": 137}
    assert not pod.running


def test_a_stop_in_a_hurry_kills_what_is_still_being_started_too():
    pod = Pod([Part("main")])
    assert pod.step(0) == [Act(BEGIN, "main")]
    pod.stop(hurry=True)
    assert pod.step(1) == [Act(KILL, "main")]


def test_what_was_being_started_when_the_stop_came_is_told_once_it_runs():
    pod = Pod([Part("main")])
    assert pod.step(0) == [Act(BEGIN, "main")]
    pod.stop()
    assert pod.step(1) == []
    pod.begun("main", 2)
    assert pod.step(2) == [Act(TERM, "main")]


def test_a_pod_of_kubernetes_runs_its_init_containers_one_by_one_and_waits_for_all():
    pod = Pod([of_pod("i"), of_pod("j", after=(("i", SUCCESS),)), of_pod("a", after=(("j", SUCCESS),)), of_pod("b")])
    begin(pod, "i", "b")
    pod.ended("i", 0)
    begin(pod, "j")
    pod.ended("j", 0)
    begin(pod, "a")
    pod.ended("b", 4)
    assert pod.step(1) == []
    pod.ended("a", 0)
    assert pod.over
    assert codes(pod) == {"i": 0, "j": 0, "b": 4, "a": 0}


def test_a_failed_init_container_leaves_out_the_rest():
    pod = Pod([of_pod("i"), of_pod("a", after=(("i", SUCCESS),)), of_pod("b", after=(("i", SUCCESS),))])
    begin(pod, "i")
    pod.ended("i", 7, "Error")
    assert pod.step(1) == []
    assert pod.over
    assert pod.ends[0] == ContainerEnd("i", 7, "Error")
    assert codes(pod) == {"i": 7, "a": None, "b": None}
    assert pod.cause == START_FAILED
