"""docs/members says of every request member what becomes of it, once."""

from tools import members
from tools.members import Fate, faults, page, plain, sent, unshown


def test_every_member_of_the_model_is_told_once() -> None:
    found = faults()
    assert not found, "docs/members/*.toml:\n  " + "\n  ".join(found)


def test_the_page_is_fresh() -> None:
    assert members.PAGE.read_text() == page(), "run make members"


def test_what_was_sent_is_read_from_nested_parameters() -> None:
    shape = members.model().operation_model("SubmitJob").input_shape
    asked = {
        "jobName": "a",
        "dependsOn": [{"jobId": "b"}],
        "tags": {"x": "y"},
        "containerOverrides": {"environment": [{"name": "n"}]},
        "unknown": 1,
    }
    assert set(sent(shape, asked)) == {
        "SubmitJobRequest.jobName",
        "SubmitJobRequest.dependsOn",
        "JobDependency.jobId",
        "SubmitJobRequest.tags",
        "SubmitJobRequest.containerOverrides",
        "ContainerOverrides.environment",
        "KeyValuePair.name",
    }


def test_a_row_whose_test_did_not_send_its_member_is_told(monkeypatch) -> None:
    rows = (("A.b", Fate("acts", "t.py::one")), ("A.c", Fate("acts", "t.py::two")), ("A.d", Fate("stored", "why")))
    monkeypatch.setattr(members, "fates", lambda: rows)
    ran = {"t.py::one[x]": {"A.c"}, "t.py::one[y]": {"A.b"}}
    assert unshown(ran, whole=False) == []
    assert unshown(ran, whole=True) == ["A.c: t.py::two did not run"]
    assert unshown(ran, whole=True, excused=["t.py::two[x]"]) == []
    assert unshown({"t.py::one": {"A.c"}}, whole=False) == ["A.b: t.py::one did not send it with success"]
    assert plain("t.py::one[x]") == "t.py::one"
