"""What `dvc status` says of a clone without data, and what of that is news."""

import hashlib
from pathlib import Path

import pytest

from captionseg.gate.lock import check_file, check_lock, find_outdated_reads, find_stale_stages

OUT = {"path": "data/pairs", "md5": "1.dir"}
LOCK = {
    "stages": {
        "download": {
            "outs": [OUT],
            "params": {"params.yaml": {"download": {"size": 8, "source": "a"}, "seed": 0}},
        },
        "curate": {
            "deps": [OUT, {"path": "lib", "md5": "2"}],
            "outs": [{"path": "reports/c.json", "md5": "3"}],
        },
        "train@a": {"deps": [OUT], "outs": [{"path": "models/a", "md5": "4.dir"}]},
        "report": {
            "deps": [{"path": "models", "md5": "5.dir"}],
            "outs": [{"path": "reports/m.json", "md5": "6"}],
        },
    }
}
PARAMS = {"recipes": {"a": {}}, "download": {"size": 8, "source": "a"}, "seed": 0}
FRESH = {
    "download": [{"changed outs": {"data/pairs": "not in cache"}}],
    "curate": [{"changed deps": {"data/pairs": "deleted"}}],
    "train@a": [
        {"changed deps": {"data/pairs": "deleted"}},
        {"changed outs": {"models/a": "not in cache"}},
    ],
    "report": [{"changed deps": {"models": "modified"}}],
}


def test_data_that_are_not_here_are_no_news():
    assert find_stale_stages(FRESH, LOCK, PARAMS) == {}
    (line, _) = check_lock(FRESH, LOCK, PARAMS, {"reports/m.json": Path("none")}).findings
    assert line.outcome == "PASS"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"curate": {"changed deps": {"lib": "modified"}}}, {"curate": ["changed: lib"]}),
        ({"curate": {"changed deps": {"lib": "deleted"}}}, {"curate": ["changed: lib (deleted)"]}),
        (
            {"curate": {"changed outs": {"reports/c.json": "modified"}}},
            {"curate": ["outs: reports/c.json (modified)"]},
        ),
        (
            {"curate": {"changed outs": {"reports/c.json": "deleted"}}},
            {"curate": ["outs: reports/c.json (deleted)"]},
        ),
        ({"curate": "changed command"}, {"curate": ["dvc.yaml: changed command"]}),
        (
            {"curate": {"changed deps": {"params.yaml": {"curate": "new"}}}},
            {"curate": ["params: curate (new)"]},
        ),
        (
            {"train@a": {"changed deps": dict.fromkeys("abcdef", "modified")}},
            {"train@a": ["changed: a, b, c, d and 2 more"]},
        ),
    ],
)
def test_what_git_holds_is_judged(changes, said):
    status = FRESH | {name: [*FRESH[name], what] for name, what in changes.items()}
    assert find_stale_stages(status, LOCK, PARAMS) == said


def test_a_folder_without_missing_data_inside_is_judged():
    assert find_stale_stages({"report": FRESH["report"]}, LOCK, PARAMS) == {
        "report": ["changed: models"]
    }


def test_params_are_named_to_the_leaf():
    params = PARAMS | {"download": {"size": 9, "source": "a", "more": True}, "seed": 1}
    status = {
        "download": [
            {"changed deps": {"params.yaml": {"download": "modified", "seed": "modified"}}}
        ]
    }
    said = "params: download.size 8 -> 9, download.more - -> True, seed 0 -> 1"
    assert find_stale_stages(status, LOCK, params) == {"download": [said]}


def test_an_output_that_was_made_anew_makes_its_readers_old():
    new = {
        "stages": LOCK["stages"]
        | {"download": {"outs": [OUT | {"md5": "9.dir"}]}, "train@gone": {"deps": [OUT]}}
    }
    assert list(find_outdated_reads(new, PARAMS["recipes"])) == [
        ("download", "data/pairs", "curate"),
        ("download", "data/pairs", "train@a"),
    ]
    assert find_stale_stages(FRESH, new, PARAMS)["curate"] == [
        "ran before download rewrote data/pairs"
    ]


def test_a_file_is_what_the_lock_records(tmp_path):
    file = tmp_path / "m.json"
    lock = {
        "stages": {
            "report": {"outs": [{"path": "reports/m.json", "md5": hashlib.md5(b"{}").hexdigest()}]}
        }
    }
    assert check_file(lock, "reports/m.json", file).cells[1] == "no such file"
    file.write_text("{}")
    assert check_file(lock, "reports/m.json", file).outcome == "PASS"
    file.write_text("{ }")
    assert check_file(lock, "reports/m.json", file).outcome == "MISS"
    assert check_file({}, "reports/m.json", file).cells[1] == "not in dvc.lock"
