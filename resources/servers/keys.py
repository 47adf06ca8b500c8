"""The key of a server and where it may go: read from the environment, struck out of all else."""

from __future__ import annotations

import logging
import os
import re

import httpx2

from dnd_assets.errors import StudyError
from resources.servers.addresses import is_loopback

_WITHOUT_SERVER = {
    "summariser": "summariser.kind = 'consensus'",
    "captioner": "captioner.kind = 'blip'",
    "text_to_image": "text_to_image.kind = 'diffusers'",
}
"""By section of the study, a choice that calls no one."""
LOGGERS = (
    "openai._base_client", "httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2",
    "httpcore2.proxy",
)  # fmt: skip


class KeyFilter(logging.Filter):
    """Strikes the key out of log records, should a server send it back."""

    def __init__(self, api_key_env: str) -> None:
        super().__init__()
        self._api_key_env = api_key_env

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without the key."""
        text = record.getMessage()
        clean = without_key(text, self._api_key_env)
        if clean != text:
            record.msg, record.args = clean, None
        return True


def read_key(api_key_env: str, section: str = "summariser") -> str:
    """The key in the environment variable `api_key_env`; empty when no variable is named.

    Raises:
        StudyError: when the variable is unset, empty or holds what no key can; without its value.
    """
    if not api_key_env:
        return ""
    # Frames that raise hold no key, as some error reports print local variables.
    if not os.environ.get(api_key_env, "").strip():
        raise StudyError(
            f"the study's {section} reads its key from the environment variable {api_key_env}, "
            f"which is not set. Set it (export {api_key_env}=…), name another variable in "
            f"`{section}.api_key_env`, write api_key_env = '' for a server that needs no key, or "
            f"choose {_WITHOUT_SERVER[section]}, which needs no server."
        )
    if re.fullmatch(r"[\x21-\x7e]+", os.environ[api_key_env].strip()) is None:
        raise StudyError(
            f"the environment variable {api_key_env} holds blanks or letters that no key has. "
            "Set it to the key alone."
        )
    return os.environ[api_key_env].strip()


def without_key(text: str, api_key_env: str) -> str:
    """`text` with the key struck out.

    Keys of fewer than 8 characters ("none", "EMPTY") are placeholders of local servers and stay:
    they are no secret and would be found inside words.
    """
    key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
    return text.replace(key, "<key>") if len(key) >= 8 else text


def check_base_url(base_url: str, allow_insecure_http: bool, section: str = "summariser") -> None:
    """Refuse an address that a key must not be sent to.

    Raises:
        StudyError: when it is no address, carries credentials or a query, or is plain http to
            another machine without `allow_insecure_http`.
    """
    problem = ""
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, ValueError):
        advice = _url_advice(section, "the address given", "cannot be read")
        raise StudyError(advice) from None
    if url.userinfo or url.query or url.fragment:
        problem = "carries a user name, a query or a fragment"
        raise StudyError(_url_advice(section, url.host, problem))
    if url.scheme not in ("http", "https") or not url.host:
        problem = "is no http(s) address"
    elif url.scheme == "http" and not (allow_insecure_http or is_loopback(url.host)):
        problem = (
            "would send the key and all that is asked in the clear; use https, or write "
            "allow_insecure_http = true if the network between is yours"
        )
    if problem:
        raise StudyError(_url_advice(section, base_url, problem))


def _url_advice(section: str, address: str, problem: str) -> str:
    return (
        f"{section}.base_url: {address!r} {problem}. It should read like https://api.openai.com/v1 "
        "or http://127.0.0.1:11434/v1; the key goes into the variable named by `api_key_env`."
    )
