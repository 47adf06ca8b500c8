"""What the errors of servers say: filters, hints, and words without the pages around them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any, Final

_SHOWN: Final = 300
_FILTER_CODES: Final = frozenset(
    {
        "content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt",
        "responsibleaipolicyviolation", "data_inspection_failed",
    }
)  # fmt: skip
"""Codes that servers send when a filter refuses a prompt or a picture."""
_SAY_NOTHING: Final = frozenset({"none", "", "invalid_request_error", "bad_request", "badrequest"})
"""Codes of errors of any kind, whose words have to be read."""
_FILTER_WORDS: Final = re.compile(
    r"content management policy|safety system|content exists risk|input was flagged"
    r"|usage polic(?:y|ies)|data may contain inappropriate",
    re.IGNORECASE,
)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HIDDEN: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def is_filter(body: object) -> bool:
    """Whether the body of an error says that a filter refused what was asked."""
    if isinstance(body, Mapping):
        codes = {str(body.get(name)).lower() for name in ("code", "type")}
        inner = body.get("innererror") or body.get("inner_error") or body.get("error")
        silent = str(body.get("code")).lower() in _SAY_NOTHING or str(body.get("code")).isdigit()
        return (
            bool(codes & _FILTER_CODES)
            or (silent and is_filter(body.get("message")))
            or (isinstance(inner, Mapping) and is_filter(inner))
        )
    return isinstance(body, str) and _FILTER_WORDS.search(body) is not None


def hint_for(code: int, key: str) -> str:
    """What to do about an HTTP status; empty where the server's words say more."""
    if 300 <= code < 400:
        return "redirects are not followed"
    hints = {
        401: f"the key in {key or 'api_key_env'} is not accepted",
        403: f"the key in {key or 'api_key_env'} may not use this model",
        429: "too many requests, or the account has no credit",
    }
    return hints.get(code, "")


def said_by(error: Any) -> str:
    """What the server said in an error, in words."""
    body = error.body
    if isinstance(body, Mapping):
        message = body.get("message") or body.get("detail") or body
        return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return body if isinstance(body, str) and body else str(error.message)


def shown(text: str) -> str:
    """A text in one line for a message; of an HTML page its title and words.

    >>> shown("<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>")
    'an HTML page, "502 Bad Gateway": nginx'
    """
    if re.match(r"\s*<(?:!doctype|html|head|body|\?xml)\b", text, re.IGNORECASE):
        title = _TITLE.search(text)
        rest = html.unescape(
            _HIDDEN.sub(" ", text[: 20 * _SHOWN].replace(title[0] if title else "", ""))
        )
        heading = f', "{html.unescape(title[1]).strip()}"' if title else ""
        text = f"an HTML page{heading}: {' '.join(rest.split()) or 'no words'}"
    return " ".join(text[:_SHOWN].split()) or "nothing"
