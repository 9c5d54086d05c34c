"""The committed shapes are what the generator makes of the service model, and the generator notices when not."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tools_shapes", ROOT / "tools" / "shapes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_file_is_fresh(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--check"]) == 0, capsys.readouterr().out


def test_an_edited_file_is_noticed(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "TARGET", tmp_path / "shapes.py")
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    text = tool.TARGET.read_text()
    tool.TARGET.write_text(text.replace("job_id: Required", "job_id: str"))
    assert tool.main(["--check"]) == 1
    assert "differs" in capsys.readouterr().out


def test_a_newer_model_is_not_a_fault(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    head = '"""GENERATED in botocore {}.'
    old, new = head.format("1.44.9. Do not") + "\na", head.format("1.44.10. Do not") + "\nb"
    assert tool.stale(old, new) == ""
    assert "newer service model" in capsys.readouterr().out
    assert "differs" in tool.stale(new, old)
    assert "differs" in tool.stale(old, old + "b")


@pytest.mark.parametrize(
    ("wire", "attribute"),
    [
        ("jobQueueArn", "job_queue_arn"),
        ("maxvCpus", "max_vcpus"),
        ("vcpus", "vcpus"),
        ("ipv6Address", "ipv6_address"),
        ("from", "from_"),
    ],
)
def test_attribute_names(tool: ModuleType, wire: str, attribute: str) -> None:
    assert tool.snake(wire) == attribute


def model(**shapes: Any) -> dict[str, Any]:
    shapes |= {"String": {"type": "string"}, "Out": {"type": "structure", "members": {"inner": {"shape": "Inner"}}}}
    operation = {
        "input": {"shape": "In"},
        "output": {"shape": "Out"},
        "http": {"method": "POST", "requestUri": "/v1/x"},
    }
    return {"metadata": {"apiVersion": "1"}, "operations": {"X": operation}, "shapes": shapes}


INNER = {"type": "structure", "members": {"a": {"shape": "String"}, "b": {"shape": "String"}}, "required": ["a"]}


def test_required_only_where_a_client_sends_it(tool: ModuleType) -> None:
    alone = tool.Generator(model(In={"type": "structure", "members": {}}, Inner=INNER)).module()
    assert "class Inner(Structure, kw_only=True):\n    a: str | None = None\n    b: str | None = None" in alone
    both = {"type": "structure", "members": {"inner": {"shape": "Inner"}}}
    text = tool.Generator(model(In=both, Inner=INNER)).module()
    assert "class Inner(Structure, kw_only=True):\n    a: Required\n    b: str | None = None" in text
    assert text.index("class Inner") < text.index("class In(")


def test_a_model_that_cannot_be_written_down(tool: ModuleType) -> None:
    loop = {"type": "structure", "members": {"again": {"shape": "In"}}}
    with pytest.raises(SystemExit, match="contains itself"):
        tool.Generator(model(In=loop, Inner=INNER)).module()
    odd = {"type": "string", "enum": ["a.b"]}
    with pytest.raises(SystemExit, match="would read otherwise"):
        tool.Generator(model(In={"type": "structure", "members": {}}, Inner=INNER, Odd=odd)).module()
