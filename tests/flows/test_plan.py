import pytest

from flows.plan import PlanError, Stage, read, stage

DAG = """
stages:
  last:
    cmd: cat b-x.txt b-y.txt > last.txt
    deps: [b-x.txt, b-y.txt]
    outs: [last.txt]
  b:
    matrix: {recipe: [x, y]}
    cmd: cp a.txt b-${item.recipe}.txt
    deps: [a.txt]
    outs:
    - b-${item.recipe}.txt
    meta: {prefect: {retries: 2, timeout: 60, gpu: true}}
  a:
    cmd: echo a > a.txt
    outs: [a.txt]
  alone:
    cmd: echo alone > alone.txt
    outs: [alone.txt]
    meta: {owner: somebody}
"""


def test_stages_come_after_what_they_need_with_their_options(repository):
    root = repository(DAG)
    found = read(root)
    names = [stage.name for stage in found]
    assert sorted(names) == ["a", "alone", "b@x", "b@y", "last"]
    assert names.index("a") < names.index("b@x") < names.index("b@y") < names.index("last")
    assert found[names.index("b@x")] == Stage(
        "b@x", retries=2, timeout=60, gpu=True, outs=("b-x.txt",)
    )
    assert found[names.index("alone")] == Stage("alone", outs=("alone.txt",))


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["b@y"], ["a", "b@y"]),
        (["b"], ["a", "b@x", "b@y"]),
        (["alone", "b@x"], ["a", "alone", "b@x"]),
    ],
)
def test_targets_bring_what_they_need_and_no_more(repository, targets, names):
    assert sorted(stage.name for stage in read(repository(DAG), targets)) == names


def test_what_cannot_be_read_is_one_line(repository, tmp_path):
    root = repository(DAG)
    with pytest.raises(
        PlanError, match=r"^dvc.yaml in .*: Stage 'nope' not found inside 'dvc.yaml' file$"
    ):
        read(root, ["nope"])
    (root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(PlanError, match=r"dvc\.yaml") as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_names_its_path_and_the_valid_ones():
    with pytest.raises(
        PlanError, match=r"stages.index.meta.prefect.retry: unknown key \(valid: retries, .*gpu\)"
    ):
        stage("index", {"retry": 1})
    with pytest.raises(
        PlanError, match=r"stages.index.meta.prefect.timeout: expected a number, found 'long'"
    ):
        stage("index", {"timeout": "long"})


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("timeout", True, "a number"),
        ("retries", 1.5, "a whole number"),
        ("retries", True, "a whole number"),
        ("retries", -1, "a whole number"),
        ("gpu", 1, "true or false"),
    ],
)
def test_a_value_of_another_kind_is_refused(option, value, expected):
    with pytest.raises(
        PlanError, match=f"stages.index.meta.prefect.{option}: expected {expected}, found {value}$"
    ):
        stage("index", {option: value})
