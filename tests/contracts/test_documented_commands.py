"""Commands and YAML blocks in documents are valid.

No command is run here; tests/stages/test_commands_of_documents.py runs those of README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
import tomllib

import click
import pytest
import yaml

from captionseg.cli import program
from captionseg.params import Params
from captionseg.records import UserError
from tests.contracts import param_names
from tests.contracts.documents import ROOT, Document, stages_of_dvc
from tests.contracts.shell_commands import Command, commands
from tests.contracts.test_docs import DOCUMENTS

README = {"make", "captionseg", "dvc", "pip", "."}
"""Programs that README may use; any other needs a check."""
RAW = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def fault(command: Command) -> str:
    """What is wrong with a command; empty for a valid command and an unknown program."""
    check = {
        "make": check_make,
        "captionseg": check_captionseg,
        "dvc": check_dvc,
        "python": check_python,
        "pip": check_pip,
        "prefect": check_prefect,
    }.get(command.program)
    return check(command) if check else ""


def check_make(command: Command) -> str:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE)
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        if equals and not re.search(rf"\$\({name}\)|\$\$\{{{name}\b", MAKEFILE):
            return f"the Makefile reads no {name}"
        if not equals and word not in targets:
            return f"the Makefile has no target {word}"
    return ""


def check_captionseg(command: Command) -> str:
    name, *rest = command.words[1:]
    if name.startswith("-"):
        known = [option for one in program.params for option in one.opts]
        return "" if name in known else f"no option {name}"
    found = program.get_command(click.Context(program), name)
    if found is None:
        return f"no command {name}"
    try:
        found.make_context(name, rest)
    except click.exceptions.Exit:
        return ""
    except (click.ClickException, UserError) as error:
        if command.whole:
            return str(error)
    else:
        return ""
    known = {option for one in found.params for option in (*one.opts, *one.secondary_opts)}
    return next((f"{name} has no {w}" for w in rest if w.startswith("-") and w not in known), "")


def try_parse(by: argparse.ArgumentParser, words: list[str]) -> str:
    """The error message of a parser, empty if it accepts the arguments."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message), contextlib.redirect_stdout(message):
            by.parse_args(words)
    except SystemExit as end:
        return "" if not end.code else message.getvalue().strip().splitlines()[-1]
    except Exception as error:  # DVC raises its own
        return f"{type(error).__name__}: {error}"
    return ""


def check_dvc(command: Command) -> str:
    from dvc.cli.parser import get_main_parser

    words = command.words[1:]
    if not command.whole and words[-1] == "-S":  # `dvc exp run -S`, without an override
        words = words[:-1]
    if message := try_parse(get_main_parser(), words):
        return message
    if words[:2] == ["exp", "run"]:
        return next(filter(None, map(check_override, override_values(words))), "")
    targets = [word for word in words[1:] if words[0] == "repro" and word[0] not in "-@"]
    return next((f"no stage {t}" for t in targets if not t.isupper() and not is_stage(t)), "")


def override_values(words: list[str]) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == "-S"]


def check_override(override: str) -> str:
    """The name must be a param; it has a plus if and only if params.yaml does not set it."""
    name, equals, _ = override.partition("=")
    plain, value = name.lstrip("+"), RAW
    if not equals:
        return f"{override} gives no value"
    if not param_names.is_param(plain):
        return f"no param {plain}"
    for part in plain.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None and not name.startswith("+"):
        return f"params.yaml does not set {plain}: write +{plain}"
    if value is not None and name.startswith("+"):
        return f"params.yaml sets {plain}: remove the plus"
    return ""


def is_stage(target: str) -> bool:
    stage, _, recipe = target.partition("@")
    return stage in stages_of_dvc() and (not recipe or recipe in RAW["recipes"])


def check_python(command: Command) -> str:
    if command.words[1:2] != ["-m"]:
        return ""
    name = command.words[2].split(".")
    places = (ROOT.joinpath(*name, "__main__.py"), ROOT.joinpath(*name).with_suffix(".py"))
    ours = (ROOT / name[0]).is_dir()
    return f"no module {'.'.join(name)}" if ours and not any(p.is_file() for p in places) else ""


def check_pip(command: Command) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"\[([\w,]+)\]", command.text)
    given = extras[1].split(",") if extras else []
    return next((f"no extra {e}" for e in given if e not in project["optional-dependencies"]), "")


def check_prefect(command: Command) -> str:
    file = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    words = command.words
    if words[1:3] == ["deployment", "run"]:
        known = {f"reproduce/{one['name']}" for one in file["deployments"]}
        return "" if words[3] in known else f"no deployment {words[3]}"
    pools = {one["work_pool"]["name"] for one in file["deployments"]}
    asked = words[words.index("--pool") + 1] if "--pool" in words else next(iter(pools))
    return "" if asked in pools else f"no pool {asked}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_commands_are_valid(path):
    faults = [
        f"{path}:{command.line}: `{command.text}`: {message}"
        for command in commands(Document(path))
        if (message := fault(command))
    ]
    assert not faults, "\n".join(faults)


def test_every_command_of_the_readme_is_checked():
    others = [c.text for c in commands(Document("README.md")) if c.program not in README]
    assert not others, f"add a check for these programs: {others}"
    assert len([*commands(Document("README.md"))]) >= 15


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("make reproo", "no target reproo"),
        ('make gate OPTION="--base main"', "reads no OPTION"),
        ("captionseg segment a.jpg", "--labels: give at least one"),
        ("captionseg segmant a.jpg", "no command segmant"),
        ("dvc exp run -S curate.cocu.neighbors=3", "no param curate.cocu.neighbors"),
        ("dvc exp run -S download.table.path=/a", "write +download.table.path"),
        ("dvc exp run -S +download.folder.root=/a", "remove the plus"),
        ("dvc exp run -S +download.source=folder", "remove the plus"),
        ("dvc metric show", "parser error"),
        ("dvc repro pretrain@none", "no stage pretrain@none"),
        ("python -m stages.keeps NAME", "no module stages.keeps"),
        ("pip install -e .[gpus]", "no extra gpus"),
        ("prefect deployment run reproduce/daily", "no deployment reproduce/daily"),
        ("prefect worker start --pool tpu", "no pool tpu"),
    ],
)
def test_wrong_commands_are_detected(text, says):
    assert says in fault(Command(text, 1, whole=True))


def test_overrides_of_the_readme_work_a_second_time(tmp_path):
    """A value with a plus is new, so the same line fails once params.yaml has it."""
    from dvc.utils.hydra import apply_overrides

    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(RAW))
    for command in commands(Document("README.md")):
        for _ in range(2 if override_values(command.words) else 0):
            apply_overrides(file, override_values(command.words))
    assert yaml.safe_load(file.read_text())["download"]["folder"] == {"root": "/my/images"}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_yaml_blocks_are_valid_params(path, tmp_path):
    """A block shows sections of params.yaml, recipes, or `masks` of a recipe."""
    for fence in Document(path).fences:
        if fence.language != "yaml":
            continue
        shown = yaml.safe_load(fence.text)
        file = tmp_path / "params.yaml"
        file.write_text(yaml.safe_dump(replace_shown(shown)))
        try:
            Params(file).check()
        except UserError as error:
            pytest.fail(f"{path}:{fence.line}: {error}")


def replace_shown(shown: dict) -> dict:
    """params.yaml, with the content of a block put in its place."""
    if shown.keys() <= {*Params.SECTIONS}:
        return {**RAW, **shown, "about": {}, "gate": {}} if "recipes" in shown else {**RAW, **shown}
    if shown.keys() == {"masks"}:
        shown = {"any": {"curation": "cocu", "archive": "cocu", "model": "use", **shown}}
    return {**RAW, "recipes": shown, "about": {}, "gate": {}}
