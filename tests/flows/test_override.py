"""Overrides: a value is the text that was typed, and a mistake is one line."""

import pytest
import yaml

from flows.git_commands import WorkspaceError
from flows.override import quote_literal
from flows.workspace import COPIES, Job, workspace
from tests.flows.conftest import sh

TEXTS = [
    "/data/[a]/x",
    "/data/a,b",
    "/data/x=y",
    "/a b/c",
    "/a#b",
    "/é/ü/日本",
    "/a!b",
    "/a(b)/c",
    "/a{b}/c",
    "it's/x",
    '/a"b/c',
    "~/x",
    "s3://b/x?y=1&z",
    "C:\\x\\y'",
    "/a;b",
    "/a$(touch x)",
    "[a]/b",
    "/a`b\\",
    "hf:x/y,z",
    "/a\\'b",
    "猫",
    "a: b",
    "x=y",
    "50 % #1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_the_text_that_was_typed(text):
    """With what Hydra's grammar takes for lists, several values, mappings, functions or comments,
    or cannot read.
    """
    from dvc.utils.hydra import to_hydra_overrides

    (found,) = to_hydra_overrides([quote_literal(f"params.yaml:a.b={text}").partition(":")[2]])
    assert not found.is_sweep_override()
    assert found.value() == text


@pytest.mark.parametrize(
    "override",
    [
        "a=1",
        "a=[x,y]",
        "+a={b:[1,2]}",
        "a='x,y'",
        "~a",
        "a=1,2",
        "a=choice(x,y)",
        "a=[x",
        "a={b",
        "a='x",
        "a=null",
        "a=",
        "a=x/y",
    ],
)
def test_what_the_grammar_reads_and_mistakes_in_it_stay(override):
    assert quote_literal(override) == override


def test_a_path_reaches_params_yaml_as_it_was_typed(root):
    with workspace(root, Job("k", "x", ["m.k=/data/[a],b=c/é's"]), print) as copy:
        assert yaml.safe_load((copy / "params.yaml").read_text())["m"] == {"k": "/data/[a],b=c/é's"}


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("nope=1", r"overrides nope=1: .*nope"),
        ("n=1,2", "a parameter has several values, which are several runs"),
        ("n", "overrides n: "),
    ],
)
def test_a_wrong_override_is_one_line_and_leaves_no_copy(root, override, why):
    with (
        pytest.raises(WorkspaceError, match=why) as caught,
        workspace(root, Job("k", "x", [override]), print),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not (root / COPIES / "flow-k").exists()


def test_overrides_are_checked_before_dvc_makes_anything_of_them(root):
    """`check-params` of the copy's own library, as a process: a flow imports none."""
    (root / "captionseg").mkdir()
    (root / "captionseg" / "params.py").touch()
    (root / "captionseg" / "__main__.py").write_text(
        "import sys\nfrom pathlib import Path\nassert sys.argv[1:] == ['check-params', "
        "'--no-files']\nif 'n: 7' in Path('params.yaml').read_text():\n    sys.exit('error: n: 7 "
        "is too much\\nm: as well')\n"
    )
    sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm u", root)
    wanted = r"overrides n=7: n: 7 is too much; m: as well$"
    with (
        pytest.raises(WorkspaceError, match=wanted),
        workspace(root, Job("k", "night", ["n=7"]), print),
    ):
        pass
    assert not list((root / COPIES).glob("*/"))
    with workspace(root, Job("k", "night", ["n=6"]), print) as copy:
        assert "n: 6" in (copy / "params.yaml").read_text()
