"""Why a source row gives no pair: a closed list of reasons, by which rows are counted.

A failed row has a `status` of img2dataset, one of these reasons, and a message with the details.
"""

from __future__ import annotations

from captionseg.records import one_line

FAILED_TO_DOWNLOAD = "failed_to_download"
FAILED_TO_RESIZE = "failed_to_resize"

NOT_RECEIVED = {
    "bad_url": "not a URL of http or https",
    "refused_address": "the address is private, local or reserved",
    "unknown_host": "the host name has no address",
    "connection_failed": "the connection was refused or broke off",
    "tls_failed": "the certificate or the encryption is not valid",
    "timed_out": "no answer in time",
    "too_slow": "fewer bytes a second than the limit",
    "rate_limited": "the host asked to wait longer than the limit (429)",
    "not_found": "the host has no such file (404, 410)",
    "forbidden": "the host refuses access (401, 403, 451)",
    "server_error": "the host failed (5xx)",
    "http_error": "another answer of HTTP than success",
    "too_many_redirects": "redirected more often than the limit",
    "too_large": "more bytes than the limit",
    "truncated": "fewer bytes than announced",
    "wrong_type": "not a picture, by its content type or its first bytes",
    "opted_out": "the host asks not to use it for training (X-Robots-Tag)",
    "empty": "no bytes",
    "no_picture": "a caption without a picture",
    "no_caption": "a picture without a caption",
    "bad_caption": "a caption that cannot be read, or is too long",
    "unreadable_file": "a file that cannot be read",
    "unsafe_path": "a path that leads out of its folder or archive",
    "changed": "the file changed while it was read",
    "duplicate_picture": "the same bytes as an earlier picture",
    "repeated_row": "the same picture and caption as an earlier row",
    "duplicate_key": "the same key as an earlier sample of the shard",
    "damaged_archive": "an archive that ends early or is damaged there",
    "other": "failed before it came here, for a reason of another tool",
}
NOT_USABLE = {
    "not_decodable": "no picture of a known format, or a damaged one",
    "too_many_pixels": "more pixels than are decoded safely",
    "too_small": "a side of fewer pixels than an encoder sees",
}
REASONS = NOT_RECEIVED | NOT_USABLE
"""Reason -> what it means."""
ASKED_AGAIN = frozenset(
    {
        "refused_address",
        "unknown_host",
        "connection_failed",
        "tls_failed",
        "timed_out",
        "too_slow",
        "rate_limited",
        "not_found",
        "forbidden",
        "server_error",
        "http_error",
        "too_many_redirects",
        "too_large",
        "truncated",
        "wrong_type",
        "opted_out",
        "empty",
        "unreadable_file",
        "changed",
    }
)
"""Reasons of rows that `download.retry: failed` requests again, as another try may succeed."""


class Refusal(Exception):
    """A row gives no pair; the message says why.

    Attributes:
        reason: one of REASONS.
    """

    def __init__(self, reason: str, text: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not in REASONS")
        super().__init__(one_line(text))
        self.reason = reason


def find_status(reason: str) -> str:
    """The status of img2dataset that a reason belongs to."""
    return FAILED_TO_RESIZE if reason in NOT_USABLE else FAILED_TO_DOWNLOAD
