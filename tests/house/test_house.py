"""The house rules that a tool does not know: layout, sizes, nothing unfinished, nothing that belongs to one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "core", "control", "producers", "processors", "sinks", "deploy")
BESIDE = ("bench", "demo", "generator")
"""Of the source tree, and not installed: they are held to the same shape, but are not product."""
MODULES = sorted(path for room in ROOMS for path in (ROOT / room / "byleave").rglob("*.py"))
SHAPED = MODULES + sorted(path for folder in BESIDE for path in (ROOT / folder).rglob("*.py"))
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 450
CODE_LINES_MAX = 18_000
"""Of the product, without blank lines, comments and docstrings: those are to be as long as they need. See docs/adr/0018."""

# Written in two parts each, so that this file does not hold what it looks for.
PLACES = ("pypi" + ".org", "python" + "hosted.org", "repo1." + "maven", "repo." + "maven", "crates" + ".io", "npm" + "js.org")
PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/opt/wh" + "eels", "/Us" + "ers/")


def files_of_the_project() -> list[Path]:
    """What is committed or about to be."""
    asked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    listed = [ROOT / name for name in asked.stdout.decode().split("\0") if name]
    return [path for path in listed if path.is_file()]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SHAPED, ids=named)
def test_a_module_and_its_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MODULE_LINES_MAX
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX}
    assert long == {}


@pytest.mark.parametrize("path", SHAPED, ids=named)
def test_a_module_says_what_it_is_and_leaves_nothing_unfinished(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), "a module opens with what it promises"
    assert re.findall(r"NotImplementedError|\b(?:TODO|FIXME|XXX)\b", source) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_a_typed_part_of_the_namespace_and_says_what_it_is_for(room: str) -> None:
    package = ROOT / room / "byleave" / room
    assert not (package.parent / "__init__.py").exists(), "one such file makes mypy blind to every other room"
    assert (package / "py.typed").is_file()
    assert (package / "__init__.py").is_file()
    assert (ROOT / room / "README.md").read_text(encoding="utf-8").strip()


def test_there_are_modules_and_not_too_many_lines() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(ROOMS)
    assert sum(code_lines(path.read_text(encoding="utf-8")) for path in MODULES) <= CODE_LINES_MAX


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor a comment, nor part of a docstring."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            told |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if line.strip() and not line.lstrip().startswith("#") and number not in told)


def test_code_lines_are_counted_without_what_explains_them() -> None:
    assert (
        code_lines('"""Docstring."""\n\n# comment\nx = 1  # beside\n\n\ndef f():\n    """Doc\n    string."""\n    return x\n')
        == 3
    )


def test_no_file_names_a_registry_or_a_place_on_one_machine() -> None:
    found = []
    for path in files_of_the_project():
        content = path.read_bytes()
        found += [f"{named(path)}: {word}" for word in (*PLACES, *PATHS) if word.encode() in content]
    assert found == []


@pytest.mark.parametrize("lock", sorted((ROOT / "deploy").glob("*.lock")), ids=named)
def test_a_lock_is_hashed_throughout_and_names_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    entries = re.split(
        r"\n(?=[a-z0-9])", "\n" + "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    )
    pinned = [entry for entry in entries if entry.strip()]
    assert pinned
    for entry in pinned:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_every_target_of_the_makefile_has_one_sentence_and_sets_up_what_it_needs() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):(.*)$", text, re.M)
    documented = {name for name, rest in targets if re.search(r"## [A-Z][^.]*(\.\w[^.]*)*\.$", rest)}
    assert documented >= {"help", "setup", "demo", "quick", "test", "prove", "check", "bench"}
    for name, rest in targets:
        if name not in ("help", "setup", "python"):
            assert rest.split("##")[0].strip() in ("setup", "python"), name
    assert f"ROOMS = {' '.join(ROOMS)}" in text
    assert f"BESIDE = {' '.join(BESIDE)}" in text


def test_a_type_error_in_any_room_is_seen_by_the_check(tmp_path: Path) -> None:
    """mypy passes over a package that it cannot find; here it must find a mistake that crosses two rooms."""
    for room in ("core", "schemas"):
        (tmp_path / room / "byleave" / room).mkdir(parents=True)
        (tmp_path / room / "byleave" / room / "py.typed").touch()
        (tmp_path / room / "byleave" / room / "__init__.py").touch()
    (tmp_path / "schemas/byleave/schemas/given.py").write_text("def given() -> int:\n    return 1\n")
    wrong = "from byleave.schemas.given import given\n\n\ndef taken() -> str:\n    return given()\n"
    (tmp_path / "core/byleave/core/taken.py").write_text(wrong)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    # Without what is installed: else it would find the project itself there, and not this copy.
    mypy = [*_check_command(), "--no-site-packages", "-p", "byleave.core", "-p", "byleave.schemas"]
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "core/byleave/core/taken.py:5: error: Incompatible return value type" in done.stdout.replace("\\", "/")


def _check_command() -> list[str]:
    """The start of the command line by which `make check` runs mypy."""
    line = next(line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if "/mypy " in line)
    options = [word for word in line.split() if word.startswith("--")]
    return [sys.executable, "-m", "mypy", *options]
