"""What is on disk becomes results; what is broken becomes one line that names the file."""

import json

import pytest

from captionseg.records import UserError
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.results import OWN, Difference
from captionseg.reporting.comparison.score_files import read, read_curves


def test_every_result_of_every_run_is_there_once(reports, recipes):
    data = Comparison(read(reports, recipes))
    assert data.home == "own"
    found = [(r.run, *data.key(r)) for r in data.results]
    assert found == [
        ("", "nouns-mil", "own", OWN),
        ("", "nouns-mil", "own", "tcl"),
        ("", "cocu_control-mil", "own", OWN),
        ("", "cocu-mil", "own", OWN),
        ("", "cocu-mil", "own", "tcl"),
        ("", "cocu-mil", "imagenet", OWN),
        ("", "cocu-mil", "voc", OWN),
        ("ablation", "cocu_naive-mil", "own", OWN),
        ("ablation", "cocu-mil", "own", OWN),  # nouns-mil is the same again
        ("groups", "nouns-groupvit", "own", OWN),
        ("groups", "cocu-groupvit", "own", OWN),
    ]
    assert [data.label(r) for r in data.results][4:9] == [
        "cocu-mil, tcl",
        "cocu-mil, ImageNet-1k",
        "cocu-mil, Pascal VOC 2012",
        "cocu_naive-mil",
        "cocu-mil (ablation)",
    ]
    assert data.protocols("cocu-mil") == [OWN, "tcl"]


def test_the_run_that_is_asked_for_comes_first(reports, recipes):
    data = Comparison(read(reports, recipes))
    assert data.of("cocu-mil", "own").scores["miou"] == 23.5
    assert data.of("cocu-mil", "own", first="ablation").scores["miou"] == 23.25
    assert data.of("cocu-groupvit", "own").run == "groups"
    assert data.of("cocu-mil", "voc").pictures == 1449
    assert data.of("cocu-mil", "city") is None


def test_each_protocol_has_what_was_written_of_it(reports, recipes):
    data = Comparison(read(reports, recipes))
    own, other = data.of("cocu-mil", "own"), data.of("cocu-mil", "own", "tcl")
    assert (own.labelling["refine"], other.labelling["refine"]) == ("none", "pamr")
    assert (own.seeds["0"], other.seeds["0"], other.scores["miou"]) == (23.0, 24.0, 26.0)


def test_differences_are_paired_where_metrics_say_so_and_plain_elsewhere(reports, recipes):
    data = Comparison(read(reports, recipes))
    own = data.of("cocu-mil", "own")
    assert own.baseline == Difference("nouns-mil", 3.5, 2.25, 4.5, 0.998)
    assert own.baseline.more.split() == [
        "+2.2",
        "to",
        "+4.5",
        "over",
        "nouns-mil,",
        "better",
        "in",
        "100",
        "%",
    ]
    assert own.control == Difference("cocu_control-mil", 1.5)
    assert own.control.more == "over cocu_control-mil"
    assert data.of("cocu-mil", "own", "tcl").baseline == Difference("nouns-mil", 5.0)
    assert data.of("cocu-groupvit", "own").baseline == Difference("nouns-groupvit", -1.0)
    assert data.of("nouns-mil", "own").baseline is None
    assert data.of("cocu-mil", "voc").baseline is None


def test_an_interval_of_another_difference_is_not_shown(reports, recipes):
    file = reports.metrics
    metrics = json.loads(file.read_text())
    metrics["recipes"]["cocu-mil"]["own"]["over_baseline"]["miou"] = 1.5  # over the control
    file.write_text(json.dumps(metrics))
    found = Comparison(read(reports, recipes)).of("cocu-mil", "own").baseline
    assert found == Difference("nouns-mil", 3.5)


def test_nothing_but_metrics_need_be_there(least, recipes):
    data = Comparison(read(least, recipes))
    assert data.results == []
    assert data.runs[0].curves == {}
    assert data.runs[0].pairs == 3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.json", '{"recipes": {"nouns-mil"', "not JSON"),
        ("metrics.json", "[]", "must be an object"),
        (
            "metrics.json",
            '{"recipes": {"nouns-mil": {"own": 3}}}',
            "recipes.nouns-mil.own must be an object",
        ),
        ("recipes/cocu-mil.json", "{", "not JSON"),
        ("recipes/cocu-mil.json", '{"per_class": [1]}', "per_class must be an object"),
        ("recipes/cocu-mil.json", '{"also": {"tcl": 1}}', "also.tcl must be an object"),
        ("benchmarks/cocu-mil/voc.json", '{"miou": 3}', "scores must be an object"),
        ("benchmarks/cocu-mil/voc.json", "\udcff", "not JSON"),
        ("experiments/groups/experiment.json", "", "not JSON"),
        ("experiments/groups/experiment.json", '{"name": "groups"}', "recipes must be an object"),
        (
            "experiments/groups/experiment.json",
            '{"recipes": {"a-b": {"curation": "a"}}}',
            "recipes.a-b.archive: missing",
        ),
        ("experiments/groups/metrics.json", None, "no such file"),
        ("experiments/groups/curves.csv", "recipe,seed,step,loss,tune_miou\na,0,", "invalid row"),
    ],
)
def test_a_broken_file_is_named_in_one_line(reports, recipes, name, text, said):
    file = reports.metrics.parent / name
    file.unlink()
    if text is not None:
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=said.replace(".", r"\.")) as error:
        read(reports, recipes)
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_no_experiment_is_named(reports, recipes):
    (reports.experiments / "half").mkdir()
    with pytest.raises(UserError, match=r"half/experiment\.json: no such file"):
        read(reports, recipes)


def test_curves_keep_steps_without_a_score(reports):
    found = read_curves(reports.plots / "curves.csv")
    assert found["cocu-mil"][1] == [
        (0, "loss", 10.0),
        (1, "loss", 9.0),
        (1, "tune_miou", 31.0),
        (2, "loss", 8.0),
        (3, "loss", 7.0),
        (3, "tune_miou", 33.0),
    ]


def test_numbers_alone_are_scores(reports, recipes):
    metrics = json.loads(reports.metrics.read_text())
    metrics["recipes"]["nouns-mil"]["own"] |= {"retrieval": {"r1": 2.0}, "note": "x", "flag": True}
    reports.metrics.write_text(json.dumps(metrics))
    found = Comparison(read(reports, recipes)).of("nouns-mil", "own").scores
    assert set(found) == {
        "miou",
        "miou_low",
        "miou_high",
        "miou_std",
        "pixel_accuracy",
        "boundary_f",
    }
