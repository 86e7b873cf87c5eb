"""The caption stage as it runs: killed in the middle, run again, run with other params; a real
server is asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from captionseg.captioners.corpus_captions import Captions
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.sources.shapes import Shapes

ROOT = Path(__file__).parents[2]
IMAGES, BEFORE = 10, 4
ARGUMENTS = ["--pairs", "data/pairs", "--captions", "data/captions"]


class Counting(ThreadingHTTPServer):
    """Captions each picture with its own hash, and counts; after `limit` answers it keeps silent
    until let go.
    """

    daemon_threads = True

    def __init__(self, limit: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.limit, self.go, self.stuck = limit, threading.Event(), threading.Event()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    def handle_error(self, request, client_address) -> None: ...  # who was killed has hung up


class Handler(BaseHTTPRequestHandler):
    server: Counting

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        url = asked["messages"][0]["content"][0]["image_url"]["url"]
        name = hashlib.sha256(base64.b64decode(url.split(",")[1])).hexdigest()[:8]
        self.server.asked[name] += 1
        if sum(self.server.answered.values()) >= self.server.limit and not self.server.go.is_set():
            self.server.stuck.set()
            self.server.go.wait(240)
            return
        self.server.answered[name] += 1
        body = json.dumps(
            {"choices": [{"message": {"content": f"a picture called x{name}"}}]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None: ...


@pytest.fixture
def server():
    with Counting(limit=BEFORE) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.go.set()
        found.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    source = Shapes(train=IMAGES, tune=0, test=0)
    write_shards(
        source, tmp_path / "data/pairs", tmp_path / "truth", shard_size=6, min_success=0.5, seed=0
    )
    return tmp_path


def configure(root: Path, **caption: object) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump({"seed": 0, "caption": caption}))


def start(root: Path) -> subprocess.Popen[str]:
    environ = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CAPTIONSEG_TRACKING": "off",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "stages.run", "caption", *ARGUMENTS],
        cwd=root,
        env=environ,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(root: Path) -> None:
    process = start(root)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error


def captions(root: Path) -> list[str]:
    rows = [Captions.load(root / "data/captions").rows(shard) or {} for shard in ("00000", "00001")]
    assert [len(r) for r in rows] == [6, IMAGES - 6]
    return [row["generated"] for part in rows for row in part.values()]


def test_killed_in_the_middle_and_changed_afterwards_nothing_is_asked_twice(
    root: Path, server: Counting
) -> None:
    url, port = f"http://127.0.0.1:{server.server_address[1]}/v1", server.server_address[1]
    asking = {"captioner": "server", "server": {"url": url, "model": "m", "batch": 1, "retries": 0}}
    configure(root, **asking)
    process = start(root)
    if not server.stuck.wait(240):
        process.kill()
        pytest.fail(str(process.communicate()))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first = Counter(server.asked)
    assert len(first) == sum(first.values()) == BEFORE + 1
    assert not (root / "data/captions/captions.json").exists()

    server.go.set()
    finish(root)
    second = server.asked - first
    assert sum(second.values()) == IMAGES - BEFORE  # the remaining ones and no other
    # the one that was asked when the stage was killed
    assert len(first.keys() & second.keys()) == 1
    assert len(server.answered) == sum(server.answered.values()) == IMAGES
    assert sorted(captions(root)) == sorted(f"a picture called x{name}." for name in server.asked)

    total = Counter(server.asked)
    # other params, the same captions: DVC runs the stage again
    configure(root, **asking, retry_failed=False)
    finish(root)
    assert server.asked == total
    configure(root, captioner="none")
    finish(root)
    assert Captions.load(root / "data/captions").rows("00000") is None
    configure(
        root, **asking | {"server": {**asking["server"], "url": f"http://localhost:{port}/v1"}}
    )
    finish(root)
    assert server.asked == total
    assert len(captions(root)) == IMAGES


def test_new_pictures_alone_are_asked_about_wherever_the_old_ones_are_now(
    root: Path, server: Counting
) -> None:
    server.go.set()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    configure(
        root,
        captioner="server",
        server={"url": url, "model": "m", "decoding": {"temperature": 0.0}},
    )
    finish(root)
    before = read_pairs(root / "data/pairs")["uid"].to_pylist()
    source = Shapes(train=IMAGES + 3, tune=0, test=0)
    for path in (root / "data/pairs").iterdir():
        path.unlink()
    write_shards(source, root / "data/pairs", root / "truth", shard_size=4, min_success=0.5, seed=0)
    assert read_pairs(root / "data/pairs")["uid"].to_pylist()[:IMAGES] == before
    finish(root)
    assert len(server.asked) == sum(server.asked.values()) == IMAGES + 3
    found = Captions.load(root / "data/captions")
    uids = [uid for number in range(4) for uid in found.rows(f"0000{number}") or {}]
    assert set(uids) == set(read_pairs(root / "data/pairs")["uid"].to_pylist())


def test_by_default_nothing_heavy_is_imported_and_nobody_is_asked(root: Path) -> None:
    configure(root)
    program = (
        f"import sys\nfrom stages.run import main\nassert main(['caption', *{ARGUMENTS}]) == "
        "0\nprint(*(m for m in ('torch', 'transformers', 'spacy', 'sklearn', 'faiss', 'pandas') "
        "if m in sys.modules))\n"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT), "CAPTIONSEG_TRACKING": "off"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
    assert [p.name for p in (root / "data/captions").iterdir()] == ["captions.json"]
