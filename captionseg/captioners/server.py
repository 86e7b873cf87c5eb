"""A vision-language model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, ...), on
this machine.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from captionseg.captioners.captioner import (
    CaptionError,
    Decoding,
    derive_seed,
    fill_prompt,
    hash_fields,
)
from captionseg.records import UserError, one_line
from captionseg.typed import AboveZero, Count, Natural, ZeroOrMore

LARGEST_ANSWER = 1 << 20  # bytes
BUSY = {408, 425, 429, 500, 502, 503, 504}
THIS_PICTURE = {400, 413, 415, 422}
LONGEST_PAUSE = 60.0  # seconds


@dataclass(frozen=True)
class ServerParams:
    """Fields of `server`.

    Attributes:
        url: URL of the API, including /v1.
        model: name of the model on the server; `GET URL/models` lists them.
        decoding: prompt and sampling parameters; top_k 0 is not sent, because some servers do not
            support it.
        side: larger pictures are shrunk to this side, in pixels.
        batch: number of concurrent requests.
        timeout: seconds to wait for an answer.
        retries: number of retries if the server is overloaded or silent.
        backoff: seconds before the first retry; doubled each time.
        remote: allow a server on another machine, to which pictures are sent.
    """

    url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    decoding: Decoding = field(default_factory=Decoding)
    side: Count = 1344
    batch: Count = 8
    timeout: AboveZero = 120.0
    retries: Natural = 4
    backoff: ZeroOrMore = 1.0
    remote: bool = False

    def build(self) -> ServerCaptioner:
        """Build the captioner without contacting the server.

        Raises:
            UserError: for an invalid address, or one on another machine.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UserError(
                f"server.url: {self.url!r} is not a URL; use one such as {ServerParams.url}"
            )
        if not self.remote and not is_this_machine(parts.hostname):
            raise UserError(
                f"server.url: pictures would be sent to another machine, {parts.hostname}; set "
                "server.remote: true to allow it"
            )
        if not self.model:
            raise UserError("server.model: empty; give the name of the model on the server")
        return ServerCaptioner(self)


def is_this_machine(host: str) -> bool:
    """Return whether a host name or address is this machine; without a DNS query."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Does not follow redirects: pictures may only be sent to the configured server."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ServerCaptioner:
    """A captioner that sends concurrent requests to a server."""

    def __init__(self, params: ServerParams) -> None:
        self.params, self.batch = params, params.batch
        is_local = is_this_machine(urlsplit(params.url).hostname or "")
        self.opener = urllib.request.build_opener(
            _NoRedirects, *([urllib.request.ProxyHandler({})] if is_local else [])
        )
        self.key = hash_fields(
            "server", model=params.model, side=params.side, **asdict(params.decoding)
        )

    def captions(
        self,
        images: Sequence[np.ndarray],
        originals: Sequence[str],
        *,
        uids: Sequence[str] = (),
        urls: Sequence[str] = (),
    ) -> list[str]:
        """See Captioner.

        Raises:
            CaptionError: for a malformed answer, or a picture that the server rejects.
            UserError: if the server cannot be reached, or rejects all requests.
        """
        with ThreadPoolExecutor(max(1, self.batch)) as pool:
            return list(
                pool.map(
                    lambda pair: self._ask(self._body(*pair)), zip(images, originals, strict=True)
                )
            )

    def _body(self, image: np.ndarray, caption: str) -> bytes:
        """Build the request for one picture."""
        p, text = self.params.decoding, fill_prompt(self.params.decoding.prompt, caption)
        picture = {
            "type": "image_url",
            "image_url": {"url": encode_data_url(image, self.params.side)},
        }
        content = [picture, {"type": "text", "text": text}]
        return json.dumps(
            {
                "model": self.params.model,
                "messages": [{"role": "user", "content": content}],
                "stream": False,
                "temperature": p.temperature,
                "top_p": p.top_p,
                "max_tokens": p.max_new_tokens,
                "seed": derive_seed(p.seed, image, text)
                >> 32,  # 31 bits: some servers read no more
                **({"top_k": p.top_k} if p.top_k else {}),
            }
        ).encode()

    def _ask(self, body: bytes) -> str:
        """Send a request, with retries, and return the answer."""
        for attempt in range(self.params.retries + 1):
            last = attempt == self.params.retries
            pause = min(self.params.backoff * 2**attempt, LONGEST_PAUSE)
            try:
                return read_content(self._post(body))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in BUSY or last:
                        raise self._explain_refused(error) from None
                    pause = max(pause, read_pause(error))
            except urllib.error.URLError as error:
                if last:
                    raise self._explain_lost(error) from None
            except (OSError, http.client.HTTPException) as error:
                if last:
                    reason = str(error) or type(error).__name__
                    raise CaptionError(f"{self.params.url}: no answer ({reason})") from None
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        """Send one request; the answer is limited by `timeout` and LARGEST_ANSWER."""
        request = urllib.request.Request(
            f"{self.params.url.rstrip('/')}/chat/completions",
            body,
            {"Content-Type": "application/json", "Accept": "application/json"},
        )
        until = time.monotonic() + self.params.timeout
        answer = bytearray()
        with self.opener.open(request, timeout=self.params.timeout) as response:
            while chunk := response.read1(1 << 16):
                answer += chunk
                if len(answer) > LARGEST_ANSWER:
                    raise CaptionError(
                        f"{self.params.url}: malformed answer, more than {LARGEST_ANSWER} bytes"
                    )
                if time.monotonic() > until:
                    raise TimeoutError("timed out")
        return bytes(answer)

    def _explain_lost(self, error: urllib.error.URLError) -> UserError:
        """Return the error for a server that is unreachable, or hung up during a request."""
        if isinstance(error.reason, BrokenPipeError | ConnectionResetError):
            return CaptionError(f"{self.params.url}: the picture was not accepted ({error.reason})")
        return UserError(
            f"{self.params.url}: cannot be reached ({error.reason}); start the server, or set "
            "server.url"
        )

    def _explain_refused(self, error: urllib.error.HTTPError) -> UserError:
        """Return the server's error message in one line."""
        kind = CaptionError if error.code in THIS_PICTURE | {500} else UserError
        return kind(f"{self.params.url}: HTTP {error.code}: {read_message(error)}")


def encode_data_url(image: np.ndarray, side: int) -> str:
    """Encode uint8 [H, W, 3] as a JPEG data URL, with no side longer than `side`."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def read_content(answer: bytes) -> str:
    """Return the text of an answer; empty if the model returned none.

    Raises:
        CaptionError: if it is not a chat completion.
    """
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        content = answer
    if content is None or isinstance(content, str):
        return content or ""
    raise CaptionError(f"malformed answer from the server: {one_line(read_start(answer))}")


def read_message(error: urllib.error.HTTPError) -> str:
    """Return the message of a refusal on one line: that of its JSON, or the first words."""
    try:
        body = error.read1(1 << 16)
    except (OSError, AttributeError, http.client.HTTPException):
        body = b""
    try:
        refusal = json.loads(body)
        refusal = refusal.get("error", refusal)
        return one_line(refusal["message"] if isinstance(refusal, dict) else refusal)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return one_line(read_start(body)) or str(error.reason)


def read_pause(error: urllib.error.HTTPError) -> float:
    """Return the seconds in Retry-After, up to LONGEST_PAUSE."""
    header = str(error.headers.get("Retry-After") or "")
    return min(float(header), LONGEST_PAUSE) if header.isascii() and header.isdigit() else 0.0


def read_start(text: bytes) -> str:
    """Decode the first bytes of an arbitrary answer."""
    return text[:400].decode(errors="replace")
