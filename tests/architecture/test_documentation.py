"""The documentation is checked like code: what exists is documented, what is shown works."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from tests.architecture.sources import (
    DOCS,
    PACKAGE,
    ROOT,
    CodeBlock,
    code_blocks,
    documentation,
    documents,
    repository_files,
    shown,
    tree,
)

import surehook
from surehook import config, errors
from surehook.cli import main
from surehook.config import units
from surehook.states import EventState, MessageState, Reason

#: A row of a table of settings: name, default, meaning.
ROW = re.compile(r"^\| `([\w.<>]+)` \| (`[^|]*`|none|required) \| .+ \|$", flags=re.MULTILINE)
PAGES = sorted(DOCS.glob("*.md"))
RECORDS = sorted((DOCS / "adr").glob("[0-9]*.md"))


def settings(
    kind: Any = config.Settings, prefix: str = ""
) -> Iterator[tuple[str, msgspec.structs.FieldInfo]]:
    """Every setting with its dotted name; what stands under names of the user's choice is ``<name>``."""
    for field in msgspec.structs.fields(kind):
        name = prefix + field.encode_name
        match msgspec.inspect.type_info(field.type):
            case msgspec.inspect.StructType(cls=inner):
                yield from settings(inner, f"{name}.")
            case msgspec.inspect.DictType(value_type=msgspec.inspect.StructType(cls=inner)):
                yield from settings(inner, f"{name}.<name>.")
            case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StructType(cls=inner)):
                yield from settings(inner, f"{name}.")
            case _:
                yield name, field


SETTINGS = dict(settings())
DOCUMENTED = dict(ROW.findall((DOCS / "configuration.md").read_text(encoding="utf-8")))


def test_every_setting_is_documented_and_no_other() -> None:
    assert len(SETTINGS) > 50
    assert set(DOCUMENTED) == set(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() & DOCUMENTED.keys()))
def test_a_documented_default_is_the_default(name: str) -> None:
    field, text = SETTINGS[name], DOCUMENTED[name]
    if text == "required":
        assert field.required
        return
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    written = None if text == "none" else tomllib.loads(f"value = {text.strip('`')}")["value"]
    assert meant(written, default) == default


def meant(written: Any, default: Any) -> Any:
    """A value as settings hold it: "15s" is milliseconds, "1MiB" bytes, a list a tuple."""
    if isinstance(written, list):
        return tuple(meant(item, default[0]) for item in written)
    if isinstance(written, str) and isinstance(default, int):
        return units.size(written) if written.endswith("B") else units.milliseconds(written)
    return written


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words it is called by."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from commands(below, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(commands(main, ("surehook",)))


def sections() -> dict[str, str]:
    """The sections of docs/cli.md: the words a command is called by, and the text about it."""
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^### `(surehook[a-z ]*[a-z])[^`\n]*`\n(.*?)(?=^##|\Z)", page, flags=re.MULTILINE | re.DOTALL
    )
    return dict(found)


def test_every_command_is_documented_and_no_other() -> None:
    assert len(COMMANDS) > 10
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_documented(name: str) -> None:
    text = sections().get(name, "")
    missing = [option for option in long_options(COMMANDS[name]) if f"`{option}" not in text]
    assert not missing, f"docs/cli.md, {name}: {', '.join(missing)}"


def long_options(command: click.Command) -> list[str]:
    return [
        option
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
        if option.startswith("--")
    ]


def test_every_error_is_documented() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.SurehookError)
    ]
    assert len(classes) >= 10
    assert len(classes) <= 14, "a caller cannot tell more errors apart"
    missing = [kind.__name__ for kind in classes if f"`{kind.__name__}`" not in documentation()]
    assert not missing, f"errors that docs/ does not explain: {', '.join(missing)}"
    silent = [kind.__name__ for kind in classes if not kind.__doc__]
    assert not silent, f"errors without a docstring: {', '.join(silent)}"


@pytest.mark.parametrize("kind", [EventState, MessageState, Reason])
def test_every_state_and_reason_is_documented(kind: type[EventState | MessageState | Reason]) -> None:
    table = re.findall(
        r"^\| ([A-Z_]+) \|", (DOCS / "concepts.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    missing = [name.value for name in kind if name.value not in table]
    assert not missing, f"docs/concepts.md has no row for {', '.join(missing)}"


def routes() -> set[str]:
    """What looks like the path of a URL in the packages that answer HTTP."""
    nodes = [
        node
        for folder in ("ingest", "console")
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for node in ast.walk(tree(path))
    ]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {text for text in texts if re.fullmatch(r"/[a-z][a-z0-9/_{}-]*", text)}


def test_every_route_is_documented() -> None:
    found = routes()
    assert {"/livez", "/readyz"} <= found
    missing = [route for route in sorted(found) if route.rstrip("/") not in documentation()]
    assert not missing, f"routes that docs/ does not name: {', '.join(missing)}"


def problems() -> list[tuple[int, str]]:
    """Status and name of every problem document."""
    calls = [
        node for node in ast.walk(tree(PACKAGE / "ingest" / "problems.py")) if isinstance(node, ast.Call)
    ]
    made = [call.args[:2] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Problem"]
    return [(ast.literal_eval(status), ast.literal_eval(slug)) for status, slug in made]


def test_every_problem_is_documented() -> None:
    assert len(problems()) >= 10
    text = documentation()
    missing = [f"{slug} ({status})" for status, slug in problems() if f"| `{slug}` | {status} |" not in text]
    assert not missing, f"docs/operations.md does not name the problems {', '.join(missing)}"


def blocks(language: str) -> list[CodeBlock]:
    return [block for path in [ROOT / "README.md", *PAGES] for block in code_blocks(path, language)]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_in_the_documents_runs(block: CodeBlock) -> None:
    """Blocks may use the public names and ``app`` without importing them again."""
    names: dict[str, object] = {name: getattr(surehook, name) for name in surehook.__all__}
    names["app"] = surehook.App()
    exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_in_the_documents_is_a_configuration(block: CodeBlock, tmp_path: Path) -> None:
    file = tmp_path / "surehook.toml"
    file.write_text(block.text, encoding="utf-8")
    loaded = config.load(file, {}, {})
    assert loaded.sources, f"{block}: sets nothing"


def test_the_documents_show_code() -> None:
    assert len(blocks("python")) >= 5
    assert len(blocks("toml")) >= 3


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_is_complete_and_listed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {path.stem[:4]} \S", text), "its title starts with its number"
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Measured"]
    assert f"]({path.name})" in (DOCS / "adr" / "README.md").read_text(encoding="utf-8")


def test_there_are_decision_records_without_gaps() -> None:
    assert [int(path.stem[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))
    assert len(RECORDS) >= 10


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [shown(page) for page in PAGES if f"]({shown(page)}" not in readme]
    assert not missing, f"README.md does not link {', '.join(missing)}"


def test_records_that_the_code_names_exist() -> None:
    sources = [path for path in repository_files() if path.suffix == ".py"]
    named = {
        (shown(path), name)
        for path in [*sources, ROOT / "pyproject.toml"]
        for name in re.findall(r"docs/adr/([\w.-]*\w)", path.read_text(encoding="utf-8"))
    }
    here = {form for record in RECORDS for form in (record.name, record.stem, record.stem[:4])}
    wrong = [f"{path}: docs/adr/{name}" for path, name in sorted(named) if name not in here]
    assert not wrong, "no such record:\n" + "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in documents() if "data" not in path.parts], ids=shown)
def test_a_document_reads_well_raw(path: Path) -> None:
    """Lines that fit a screen (tables may be wider), one first heading, no tabs, an end of line at the end."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert "\t" not in text
    long = [
        line
        for line in text.splitlines()
        if len(line) > 130 and not line.startswith(("|", "    ")) and "](http" not in line
    ]
    assert not long, f"{shown(path)}: longer than 130 characters:\n" + "\n".join(long)
