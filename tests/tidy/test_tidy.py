"""The house rules, each with its reason. A test that reads the repository; what it reports, it reports all at once."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import batchery

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "batchery"
GENERATED = {"src/batchery/api/shapes.py"}

FILE_LINES = 400
FUNCTION_LINES = 50

#: Package or module of batchery -> what else of batchery it may import, by prefix. The arrows of docs/ARCHITECTURE.md:
#: drivers are chosen in one place (app), the core knows nobody, and the edge cannot reach around the loop.
MAY_IMPORT = {
    "core": (),
    "config": (),
    "spec": ("core", "config", "api.shapes", "engines.engine"),
    "store": ("core",),
    "engines": ("core.messages", "core.model", "core.pod", "config"),
    "run": ("core", "spec", "config", "store.store", "engines.engine"),
    "api": (
        *("core.messages", "core.model", "core.status", "core.query", "store.store", "run.port", "spec", "config"),
        *("core.instances", "core.named", "core.queue", "core.shares", "run.logfiles", "run.logsearch"),
    ),
    "vault": ("run.secrets", "spec.secretrefs", "config"),
    "client": ("api.sigv4",),
}
#: The core is a function of its arguments: no clock, no I/O, no randomness, so every run can be repeated.
CORE_LIBRARIES = {"collections", "heapq", "bisect", "math", "typing", "enum", "msgspec"}

#: Calls that may not be written, and why.
BANNED_CALLS = {
    r"asyncio\.create_subprocess_\w+|loop\.subprocess_\w+": "1,200 jobs a second where posix_spawn makes 2,200",
    r"os\.fork\(|os\.forkpty\(": "the heap is copied, and threads are lost: os.posix_spawn",
    r"os\.popen\(|os\.system\(": "a shell in between, and no exit code: subprocess.run with a list",
    r"preexec_fn\s*=": "makes Popen fork the heap, and is unsafe with threads: an exec'ed shim",
    r"asyncio\.get_event_loop\(": "may make a loop by accident: asyncio.get_running_loop()",
    r"\.utcnow\(|\.utcfromtimestamp\(": "naive: times are integer milliseconds",
}
#: The reaper forks: it is a few dozen lines in a process of its own, with no heap to speak of and no threads.
MAY_FORK = "src/batchery/engines/reaper.py"
#: Only keyword arguments of Popen and run, for which Popen forks instead of vforking.
FORKING_OPTIONS = {"user", "group", "extra_groups", "preexec_fn", "umask"}
#: A name that says nothing collects everything.
EMPTY_NAMES = {"utils", "util", "manager", "helpers", "helper", "base", "common", "misc"}
#: What we wrote is for everybody: no machine of ours, no package registry, nothing left to do.
UNWANTED = {
    r"[/](work|root)/\w": "a path of somebody's machine",
    r"[/]home/(?!ada\b|you\b)\w": "a path of somebody's machine",
    r"pypi\.(org|io)|python[h]osted|npm[j]s\.|deb\.debian\.or[g]|crates\.i[o]": "a registry: who installs chooses it",
    r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b": "do it, or say in the docs that it is not there",
    r"pytest\.(mark\.)?xfai[l]": "a test that may fail shows nothing",
}


@cache
def tracked() -> tuple[str, ...]:
    """Files of the repository; without git, whatever is there beside what tools leave behind."""
    if shutil.which("git"):
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
        names = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
        if done.returncode == 0 and names:
            return tuple(sorted(names))
    left = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "build"}
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return tuple(sorted(str(path) for path in paths if not left & set(path.parts) and ".egg-info" not in str(path)))


def texts() -> Iterator[tuple[str, str]]:
    """(name, text) of what we wrote: generated code and the licence are somebody else's words."""
    for name in tracked():
        if name not in GENERATED and name != "LICENSE":
            try:
                yield name, (ROOT / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def python() -> Iterator[tuple[str, str]]:
    return ((name, text) for name, text in texts() if name.endswith(".py"))


def imports(text: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, inside functions too; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def fail_on(faults: list[str], reason: str) -> None:
    assert not faults, f"{reason}\n  " + "\n  ".join(faults)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_packages_know_only_those_they_may(part: str) -> None:
    faults = []
    for name, text in python():
        if name.startswith((f"src/batchery/{part}/", f"src/batchery/{part}.py")):
            for line, module in imports(text):
                inside = module.removeprefix("batchery.")
                may = (f"{part}.", "__version__", *MAY_IMPORT[part])
                if module.startswith("batchery.") and not inside.startswith(may):
                    faults.append(f"{name}:{line} imports {module}")
    fail_on(faults, f"{part} may import only {MAY_IMPORT[part]} of batchery")


def test_only_the_top_chooses_drivers() -> None:
    free = {"app", "cli", "testing", "__main__", "__init__"}
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - free == set(MAY_IMPORT), "every package has its line in MAY_IMPORT"


def test_the_core_is_pure() -> None:
    faults = [
        f"{name}:{line} imports {module}"
        for name, text in python()
        if name.startswith("src/batchery/core/")
        for line, module in imports(text)
        if module.split(".")[0] not in CORE_LIBRARIES | {"batchery"}
    ]
    fail_on(faults, "the core has no clock, no I/O, no randomness")


def test_the_edge_sees_the_world_through_queries_only() -> None:
    faults = [
        f"{name}:{node.lineno}"
        for name, text in python()
        if name.startswith("src/batchery/api/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and node.attr == "world"
    ]
    fail_on(faults, "World is given to queries by ask and look; who takes it may see what is not committed")


def test_calls_that_cost_or_break() -> None:
    faults = [
        f"{name}:{number} {why}"
        for name, text in python()
        if name.startswith("src/")
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, why in BANNED_CALLS.items()
        if re.search(pattern, line) and not (name == MAY_FORK and "os.fork()" in line)
    ]
    fail_on(faults, "banned calls")


def test_processes_are_started_without_a_fork_of_the_heap() -> None:
    faults = []
    for name, text in python():
        for node in ast.walk(ast.parse(text)) if name.startswith("src/") else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Popen", "subprocess.run")):
                used = {keyword.arg for keyword in node.keywords} & FORKING_OPTIONS
                faults += [f"{name}:{node.lineno} {option}=" for option in sorted(used)]
    fail_on(faults, "with these options Popen forks; user switching and limits belong in the shim")


def test_only_the_command_line_prints() -> None:
    faults = [
        f"{name}:{node.lineno}"
        for name, text in python()
        if name.startswith("src/batchery/") and not name.startswith("src/batchery/cli/")
        if "__main__" not in text  # the agent and its kin are processes of their own: their stderr is a log
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    fail_on(faults, "the service says things through logging and the API")


def test_names_say_something() -> None:
    faults = [name for name in tracked() if EMPTY_NAMES & set(re.split(r"[/._]", name))]
    fail_on(faults, "a module is named for its idea")


def test_files_can_be_seen_whole() -> None:
    faults = [f"{name} has {count} lines" for name, text in python() if (count := text.count("\n")) > FILE_LINES]
    fail_on(faults, f"at most {FILE_LINES} lines a file")


def test_functions_can_be_seen_whole() -> None:
    faults = []
    for name, text in python():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or 0) - node.lineno + 1
                if count > FUNCTION_LINES:
                    faults.append(f"{name}:{node.lineno} {node.name} has {count} lines")
    fail_on(faults, f"at most {FUNCTION_LINES} lines a function")


def test_nothing_unwanted_is_written() -> None:
    faults = [
        f"{name}:{number} {why}: {line.strip()[:80]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, why in UNWANTED.items()
        if re.search(pattern, line)
    ]
    fail_on(faults, "not for a file of ours")


def test_a_test_that_cannot_run_here_says_what_it_needs() -> None:
    faults = [
        f"{name}:{node.lineno}"
        for name, text in python()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skipif", "pytest.mark.skip")
        if "not run: " not in ast.unparse(node)
    ]
    fail_on(faults, "skipped only for what the machine lacks, with a reason that begins 'not run: '")


def test_names_of_test_files_are_unique() -> None:
    names = Counter(Path(name).name for name in tracked() if Path(name).name.startswith("test_"))
    fail_on([name for name, count in names.items() if count > 1], "pytest's reports name the file only")


def test_decisions_are_numbered() -> None:
    numbers = [Path(name).name[:3] for name in tracked() if name.startswith("docs/decisions/")]
    assert all(number.isdecimal() for number in numbers)
    fail_on([number for number, count in Counter(numbers).items() if count > 1], "one number, one decision")


def test_decisions_that_are_cited_are_there() -> None:
    there = {Path(name).name[:3] for name in tracked() if name.startswith("docs/decisions/")}
    faults = [
        f"{name} cites decision {number}"
        for name, text in texts()
        for number in re.findall(r"\bDecisions? (\d{3})\b", text)
        if number not in there
    ]
    fail_on(faults, "a reason that cannot be read is none")


def test_links_of_the_documents_lead_somewhere() -> None:
    faults = []
    for name, text in texts():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if name.endswith(".md") else ():
            if not (ROOT / name).parent.joinpath(target).exists():
                faults.append(f"{name} links to {target}")
    fail_on(faults, "dead links")


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert batchery.__version__ == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_shapes_are_what_the_service_model_gives() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "shapes.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
