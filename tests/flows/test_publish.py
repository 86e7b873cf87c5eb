import base64
import functools
import html
import io
import json
import re

import httpx
import pytest
from PIL import Image

from flows.plan import Stage
from tests.imported_late import import_late

module = import_late("flows.publish")


def test_a_table_has_the_numbers_by_dotted_name():
    values = {"recipes": {"a": {"miou": 1 / 3}}, "name": "x", "gate": {"passed": 1}}
    assert module().flatten(values) == [("recipes.a.miou", 1 / 3), ("gate.passed", 1)]
    assert module().format_table(values).splitlines()[2:] == [
        "| recipes.a.miou | 0.333333 |",
        "| gate.passed | 1 |",
    ]


def test_only_reports_of_stages_of_this_run_are_shown(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        module(),
        "create_markdown_artifact",
        lambda markdown, key, description: shown.update({key: 1}),
    )
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "metrics.json").write_text("{}")
    (tmp_path / "reports" / "comparison.md").write_text("# Recipes\n")
    module().publish(tmp_path, [Stage("curate", outs=("data/supervision",))], "k")
    assert shown == {}
    module().publish(
        tmp_path, [Stage("report", outs=("reports/metrics.json", "reports/pictures"))], "k"
    )
    assert shown == {"metrics": 1}, "no pictures are there"


def test_a_report_that_cannot_be_shown_fails_no_run(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module(), "warn", said.append)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "metrics.json").write_text("{")
    module().publish(tmp_path, [Stage("report", outs=("reports/metrics.json",))], "k")
    assert len(said) == 1
    assert said[0].startswith("artifacts: JSONDecodeError: ")


PROGRAM = """
import os, sys
open("said", "w").write(f"{sys.argv[1:]} {os.environ['CAPTIONSEG_FLOW_RUN']}")
print("one\\nerror: tracking: the store is locked", file=sys.stderr)
sys.exit(len(sys.argv) - 2 + os.path.exists("broken"))
"""


def test_mlflow_is_told_of_what_no_stage_could_say(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module(), "warn", said.append)
    (tmp_path / "captionseg").mkdir()
    (tmp_path / "captionseg" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "dvc.lock").touch()
    module().synchronise(tmp_path, [Stage("curate", outs=("data/supervision",))], "k")
    assert not (tmp_path / "said").exists(), "nothing is whole yet"
    report = [Stage("report", outs=("reports/metrics.json",))]
    module().synchronise(tmp_path, report, "k")
    assert (tmp_path / "said").read_text() == "['sync'] k"
    assert said == []
    (tmp_path / "broken").touch()
    module().synchronise(tmp_path, report, "k")
    assert said == ["MLflow: error: tracking: the store is locked"]


def test_what_is_not_there_is_not_shown(tmp_path):
    assert [
        make(tmp_path)
        for make in (
            module().publish_metrics,
            module().publish_validation,
            module().publish_comparison,
            module().publish_overlays,
        )
    ] == ["", "", "", ""]


def test_a_verdict_names_what_failed(tmp_path):
    (tmp_path / "reports").mkdir()
    good = {"expectation": "expect_x", "column": "uid", "success": True, "observed": {}}
    bad = {
        "expectation": "expect_unique",
        "column": "uid",
        "success": False,
        "observed": {"unexpected": 2},
    }
    found = {
        "success": False,
        "tables": {"pairs": {"expectations": [good, bad]}, "segments": {"expectations": [good]}},
    }
    (tmp_path / "reports" / "validation.json").write_text(json.dumps(found))
    text = module().publish_validation(tmp_path)
    assert text.startswith("**FAILED**\n")
    assert "| pairs | 2 | 1 |\n| segments | 1 | 0 |" in text
    assert "- pairs: expect_unique of `uid`: `{'unexpected': 2}`" in text


def test_the_comparison_has_no_links_to_files_that_a_server_has_not(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "comparison.md").write_text(
        "# Recipes\n\n![chart](comparison/a.png)\n\n| a |\n"
    )
    text = module().publish_comparison(tmp_path)
    assert "![" not in text
    assert "# Recipes" in text
    assert f"`{tmp_path / 'reports' / 'comparison.html'}`" in text


def test_overlays_are_a_small_picture_in_the_text(tmp_path):
    (tmp_path / "reports" / "pictures").mkdir(parents=True)
    Image.new("RGB", (1800, 1000), "red").save(tmp_path / "reports" / "pictures" / "overlays.jpg")
    data = module().publish_overlays(tmp_path).split("base64,")[1].split(")")[0]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (900, 500)


def test_the_link_is_of_the_parent_run_and_missing_where_nobody_answers(monkeypatch):
    def answer(request):
        if request.url.path.endswith("get-by-name"):
            return httpx.Response(200, json={"experiment": {"experiment_id": "7"}})
        assert (
            json.loads(request.content)["filter"]
            == "tags.reproduction = 'flow-k' and tags.role != 'stage'"
        )
        return httpx.Response(200, json={"runs": [{"info": {"run_id": "abc"}}]})

    client = httpx.Client
    for handler, found in (
        (answer, "http://x:5/#/experiments/7/runs/abc"),
        (lambda request: httpx.Response(404), ""),
        (lambda request: httpx.Response(500), ""),
    ):
        transport = httpx.MockTransport(handler)
        fake = functools.partial(client, transport=transport)
        monkeypatch.setattr(module().httpx, "Client", fake)
        assert module().find_mlflow_run("k", {"MLFLOW_TRACKING_URI": "http://x:5/"}) == found
    assert (
        module().find_mlflow_run("k", {})
        == module().find_mlflow_run("k", {"MLFLOW_TRACKING_URI": "sqlite:///x.db"})
        == ""
    )


def test_the_link_compares_the_recipes_if_there_are_any():
    runs = [
        {"info": {"run_id": name}, "data": {"tags": [{"key": "role", "value": role}]}}
        for name, role in (("a", "reproduction"), ("b", "recipe"), ("c", "recipe"))
    ]
    link = module().build_address("http://x:5", "7", runs)
    assert link == (
        "http://x:5/#/compare-runs?runs=%5B%22b%22%2C%20%22c%22%5D&experiments=%5B%227%22%5D"
    )
    assert (
        module().build_address("http://x:5", "7", runs[:1]) == "http://x:5/#/experiments/7/runs/a"
    )


def test_a_password_is_sent_and_not_shown(monkeypatch):
    def answer(request):
        assert (
            request.headers["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
        )
        if request.url.path.endswith("get-by-name"):
            return httpx.Response(200, json={"experiment": {"experiment_id": "7"}})
        return httpx.Response(200, json={"runs": [{"info": {"run_id": "abc"}}]})

    client, transport = httpx.Client, httpx.MockTransport(answer)
    monkeypatch.setattr(
        module().httpx, "Client", lambda **options: client(transport=transport, **options)
    )
    named = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"}
    for environ in (
        {"MLFLOW_TRACKING_URI": "https://me:secret@x"},
        {"MLFLOW_TRACKING_URI": "https://x", **named},
    ):
        assert module().find_mlflow_run("k", environ) == "https://x/#/experiments/7/runs/abc"


EVIL = [
    "![x](http://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "<img src=//evil.example/a onerror=alert(1)>",
    "<script>alert(1)</script>",
    "```",
    "` ![x](http://evil.example/a)",
    "a | ![b](http://evil.example/c) |",
    "http://evil.example/x",
    "www.evil.example",
    "<http://evil.example>",
    "me@evil.example",
    "# big",
    "- [x](/y)",
    "line\n# big\n![x](http://evil.example/a.png)",
    "\\![x](http://evil.example)",
    "[x]: http://evil.example",
    "*a* _b_ ~~c~~",
    "[click] [x]",
    "````\n![x](http://evil.example/a.png)",
]


TAGS = "h1 h2 p pre code table thead tbody tr th td ul li em strong s".split()  # noqa: SIM905


def rendered(text):
    """HTML as the page has it: raw HTML is let through, and addresses become links."""
    from markdown_it import MarkdownIt

    assert not re.search(
        r"www\.evil|me@evil|http://evil", re.sub(r"(`+).*?\1", "", text, flags=re.DOTALL)
    )
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


@pytest.mark.parametrize("evil", EVIL)
def test_what_stages_say_is_shown_as_it_is_and_links_to_nothing(tmp_path, monkeypatch, evil):
    """Log lines, observed values, names of columns, of tables, of metrics, and a comparison with
    notes in it.
    """
    shown = {}
    monkeypatch.setattr(
        module(),
        "create_markdown_artifact",
        lambda markdown, key, description: shown.update(
            {key: markdown, "description": description}
        ),
    )
    module().publish_failure(evil, evil, ["before", evil, "after"])
    (tmp_path / "reports").mkdir()
    bad = {
        "expectation": "expect_x",
        "column": evil,
        "success": False,
        "observed": {"values": [evil]},
    }
    found = {"success": False, "tables": {evil: {"expectations": [bad]}}}
    (tmp_path / "reports" / "validation.json").write_text(json.dumps(found))
    report = f"# Recipes\n\n| a | b |\n|---|---|\n| x {evil} | 1 |\n\n{evil}\n"
    (tmp_path / "reports" / "comparison.md").write_text(report)
    texts = [
        shown["failure"],
        shown["description"],
        module().publish_validation(tmp_path),
        module().format_table({evil: 1.5}),
        module().publish_comparison(tmp_path),
    ]
    pages = [rendered(text) for text in texts]
    for page in pages:
        tags = {tag.lower() for tag in re.findall(r"<[/!?]?([a-zA-Z0-9]*)", page)}
        assert tags <= set(TAGS), page
        assert "href" not in page
    plain = " ".join(
        html.unescape(re.sub(r"</?code>", "", pages[3].split("<tbody>")[1].split("<td")[1])).split()
    )
    assert plain == f">{' '.join(evil.split())}</td>", "as it is"
    said = html.unescape(pages[0].split("<pre><code>")[1].split("</code>")[0])
    assert said == f"before\n{evil}\nafter\n"
    assert pages[4].startswith("<p>Page: <code>")
    assert "<h1>Recipes</h1>" in pages[4]
