import re

from captionseg.gate.findings_table import (
    MARK,
    Finding,
    Section,
    format_number,
    render_comment,
    render_failure,
    render_terminal,
    summarize,
)

GOOD = Section(
    "Thresholds",
    "params.yaml",
    ("rule", "value", "why"),
    [Finding("PASS", ("a|b", "1.5")), Finding("NOTE", ("c",))],
)
BAD = Section(
    "Lock", "dvc.lock", ("what", "n", "why"), [Finding("MISS", ("stage a", "-2", "a < b | c"))]
)
EMPTY = Section("Regression", "nothing to compare with", ("number", "why"), [])


def test_one_miss_is_enough_and_notes_do_not_count():
    assert summarize([GOOD, EMPTY]) == (True, "gate passed: 1 checks")
    assert summarize([GOOD, BAD]) == (False, "gate failed: 1 of 2 checks")


def test_columns_stand_below_each_other_and_a_part_without_lines_is_one():
    assert render_terminal([GOOD, EMPTY]) == [
        "Thresholds (params.yaml)",
        "        rule  value  why",
        "  PASS  a|b     1.5",
        "  NOTE  c",
        "",
        "Regression (nothing to compare with)",
        "",
        "gate passed: 1 checks",
    ]


def test_numbers_have_six_digits_and_absent_ones_are_empty():
    assert [
        format_number(1 / 3),
        format_number(2.0, "+"),
        format_number(None),
        format_number(float("nan")),
    ] == ["0.333333", "+2", "", "nan"]


def test_the_comment_says_first_what_was_missed():
    text = render_comment([GOOD, BAD], extra=[EMPTY], links={"metrics": "reports/metrics.json"})
    lines = text.splitlines()
    assert lines[0] == MARK
    assert lines[2] == "## Gate failed: 1 of 2 checks"
    assert lines[4] == "### Lock"
    assert lines[8] == r"| MISS | stage a | -2 | a \< b \| c |"
    assert text.endswith("[metrics](reports/metrics.json)\n")
    assert "### Thresholds" not in text
    assert "### Regression" not in text, "extra tables without lines are left out"


def test_the_comment_is_well_formed():
    text = render_comment([GOOD, BAD, EMPTY], extra=[GOOD])
    assert text.count("<details>") == text.count("</details>") == 3
    assert "<summary>Regression: no checks (nothing to compare with)</summary>" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1, block
    outside = re.sub(r"</?(details|summary)>|<!--.*?-->", "", text)
    assert not re.search(r"(?<!\\)<", outside)


def test_without_a_verdict_the_comment_says_so():
    assert (
        render_failure("a_b: broken") == f"{MARK}\n\n## The gate could not run\n\na\\_b: broken\n"
    )
