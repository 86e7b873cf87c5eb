"""An OpenAI-compatible server: what it is sent, what it may answer, and what goes wrong."""

import base64
import io
import json
import os
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

from captionseg.captioners import server as module
from captionseg.captioners.captioner import PROMPT, CaptionError, Decoding
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.server import ServerParams, encode_data_url
from captionseg.records import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def completion(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def params_of(**changes) -> ServerParams:
    """Of changes, those of Decoding go there."""
    decoding = Decoding(
        **{k: changes.pop(k) for k in Decoding.__dataclass_fields__ if k in changes}
    )
    return ServerParams(decoding=decoding, **changes)


def ask(server, images=(IMAGE,), given=("a dog",), **changes):
    options = {
        "url": server.url,
        "model": "m",
        "timeout": 10.0,
        "retries": 2,
        "backoff": 0.001,
        **changes,
    }
    params = CaptionParams(captioner="server", server=params_of(**options))
    return params.build().captions(images, given)


def fails(kind, server, message, **changes):
    with pytest.raises(kind, match=message) as error:
        ask(server, **changes)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert kind is CaptionError or not isinstance(error.value, CaptionError)


def test_a_picture_the_prompt_and_the_papers_decoding_are_sent(server):
    assert ask(server) == ["a dog."]
    (asked,) = server.asked
    assert asked["path"] == "/v1/chat/completions"
    assert {
        k: asked[k] for k in ("model", "temperature", "top_p", "top_k", "max_tokens", "stream")
    } == {
        "model": "m",
        "temperature": 0.8,
        "top_p": 0.4,
        "top_k": 5,
        "max_tokens": 512,
        "stream": False,
    }
    picture, text = asked["messages"][0]["content"]
    assert text == {"type": "text", "text": PROMPT}
    kind, data = picture["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (60, 40)


def test_options_travel(server):
    ask(server, prompt="More than {caption}?", top_k=0, url=server.url + "/")
    assert "top_k" not in server.asked[0]
    assert server.asked[0]["messages"][0]["content"][1]["text"] == "More than a dog?"
    assert server.asked[0]["path"] == "/v1/chat/completions"


def test_answers_come_in_order_and_seeds_belong_to_pictures(server):
    def script(asked):
        text = asked["messages"][0]["content"][1]["text"]
        time.sleep(0.05 if text == "0" else 0.0)
        return 200, {}, completion(text)

    server.script = script
    images = [IMAGE + np.uint8(i) for i in range(5)]
    assert ask(server, images, list("01234"), prompt="{caption}", batch=5) == list("01234")
    seeds = {asked["messages"][0]["content"][1]["text"]: asked["seed"] for asked in server.asked}
    assert len(set(seeds.values())) == 5
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    ask(server, images[3:4], ["3"], prompt="{caption}")
    assert server.asked[-1]["seed"] == seeds["3"]


def test_sides_of_pictures():
    def sent(height, width, side):
        data = encode_data_url(np.zeros((height, width, 3), np.uint8), side).split(",")[1]
        return Image.open(io.BytesIO(base64.b64decode(data))).size

    assert sent(10, 10, 100) == (10, 10)
    assert sent(1, 1, 100) == (1, 1)
    assert sent(100, 400, 200) == (200, 50)
    assert sent(2, 4000, 100) == (100, 1)


def test_long_and_empty_answers(server):
    long = "word " * 3000
    server.script = lambda asked: (200, {}, completion(long))
    assert ask(server) == [long]
    for nothing in ("", None):
        server.script = lambda asked, nothing=nothing: (200, {}, completion(nothing))
        assert ask(server) == [""]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>\n\nno</html>",
        b"\xff\xfe\x00",
        b"{}",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"choices": {"a": "\x1b[2J"}}',
    ],
)
def test_answers_that_are_none(server, body):
    server.script = lambda asked: (200, {}, body)
    fails(CaptionError, server, "malformed answer")
    assert len(server.asked) == 1


def test_an_answer_of_ten_megabytes_is_not_read_to_its_end(server):
    server.script = lambda asked: (200, {}, completion("x" * 10_000_000))
    fails(CaptionError, server, "more than 1048576 bytes")


def test_an_answer_that_trickles_in_is_cut_off(server):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def trickle():
            connection = listening.accept()[0]
            with connection:
                connection.recv(1 << 20)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        fails(CaptionError, server, "no answer \\(timed out\\)", url=url, timeout=0.3, retries=0)
        stop.set()
        thread.join()


def test_an_answer_that_breaks_off(server):
    server.script = lambda asked: (200, {"Content-Length": 100}, b'{"choices"')
    fails(CaptionError, server, "no answer|malformed", timeout=0.3, retries=1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, status):
    answers = [(status, {"Retry-After": "0"}, b"{}")] * 2 + [(200, {}, completion("a cat"))]
    server.script = lambda asked: answers[len(server.asked) - 1]
    assert ask(server) == ["a cat"]
    assert len(server.asked) == 3


def test_pauses_double_and_heed_the_server(server, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    headers = [
        {},
        {"Retry-After": "7"},
        {"Retry-After": "99999999999"},
        {"Retry-After": "Wed, 21 Oct 2015"},
        {},
    ]
    server.script = lambda asked: (503, headers[len(server.asked) - 1], b"busy")
    fails(UserError, server, "HTTP 503: busy", retries=4, backoff=1.0)
    assert slept == [1.0, 7.0, 60.0, 8.0]


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            400,
            b'{"error": {"message": "image\\ntoo small"}}',
            CaptionError,
            "HTTP 400: image too small",
        ),
        (413, b'{"message": "too large"}', CaptionError, "HTTP 413: too large"),
        (500, b'{"error": "crashed"}', CaptionError, "HTTP 500: crashed"),
        (401, b'{"error": {"message": "no key"}}', UserError, "HTTP 401: no key"),
        (404, b'{"detail": "model m not found"}', UserError, "HTTP 404: .*model m not found"),
        (404, b"<p>" * 5000, UserError, "HTTP 404: <p>"),
        (404, b"", UserError, "HTTP 404: Not Found"),
        (404, b"[" * 100_000, UserError, "HTTP 404"),
    ],
)
def test_refusals_in_the_servers_words(server, status, body, kind, message):
    server.script = lambda asked: (status, {}, body)
    fails(kind, server, message)
    assert len(server.asked) == (3 if status == 500 else 1)


def test_a_redirect_is_not_followed(server):
    server.script = lambda asked: (302, {"Location": f"{server.url}/elsewhere"}, b"")
    fails(UserError, server, "HTTP 302")
    assert len(server.asked) == 1


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    params = ServerParams(url=f"http://127.0.0.1:{port}/v1", model="m", retries=1, backoff=0.001)
    with pytest.raises(UserError, match=r"cannot be reached .*; start the server") as error:
        params.build().captions([IMAGE], ["a dog"])
    assert not isinstance(error.value, CaptionError)


def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(server, monkeypatch):
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:9")
    monkeypatch.delitem(os.environ, "no_proxy", raising=False)
    assert ask(server) == ["a dog."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "server.model"),
        ({"url": "file:///etc/passwd"}, "not a URL"),
        ({"url": "127.0.0.1:8000"}, "not a URL"),
        ({"url": "http://example.org/v1"}, "another machine.*server.remote"),
        ({"url": "http://127.0.0.1.example.org/v1"}, "another machine"),
        ({"url": "http://127.0.0.1@10.0.0.1/v1"}, "another machine"),
    ],
)
def test_addresses_that_will_not_do(changes, message):
    with pytest.raises(UserError, match=message):
        ServerParams(**{"model": "m", **changes}).build()


def test_addresses_that_will():
    for url in ("http://localhost:1/v1", "http://[::1]:8000/v1", "https://127.0.0.2/v1"):
        ServerParams(url=url, model="m").build()
    ServerParams(url="http://10.0.0.1/v1", model="m", remote=True).build()


def test_the_key_is_of_what_is_asked_and_not_of_where():
    key = ServerParams(model="m").build().key
    assert (
        key
        == ServerParams(model="m", url="http://localhost:1/v1", batch=1, timeout=1.0, retries=0)
        .build()
        .key
    )
    for change in (
        {"model": "n"},
        {"prompt": "p"},
        {"temperature": 0.0},
        {"seed": 1},
        {"side": 100},
        {"top_k": 0},
    ):
        assert params_of(**{"model": "m", **change}).build().key != key
