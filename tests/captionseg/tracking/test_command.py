"""What the command needs before it can compare anything."""

import shutil

from captionseg import cli


def said(capsys, *words):
    capsys.readouterr()
    code = cli.main(["compare", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_one_run_is_none_to_compare(capsys):
    assert "give at least two runs" in said(capsys, "latest")[2]


def test_no_store_and_a_server_that_is_down_are_one_line(tmp_path, monkeypatch, capsys, schema):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert (
        said(capsys, "latest", "x")[2]
        == f"error: {tmp_path}/mlflow.db: no runs yet; run `dvc repro`\n"
    )
    assert not list(tmp_path.iterdir())
    shutil.copy(schema, tmp_path / "mlflow.db")
    assert "no experiment 'captionseg'" in said(capsys, "latest", "latest~1")[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, err = said(capsys, "latest", "latest~1")
    assert code == 1
    assert err.startswith("error: http://127.0.0.1:9: does not answer: ")
    assert err.count("\n") == 1
