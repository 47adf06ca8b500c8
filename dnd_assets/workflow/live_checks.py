"""What changes without a trace in any file, so that it is asked each time: room, and servers."""

from __future__ import annotations

import shutil
import socket
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dnd_assets.errors import StudyError
from resources.servers.addresses import is_loopback

LEAST_FREE: Final = 200_000_000
"""Bytes that have to be free in the state folder before a run begins."""
_LOOPBACK_S, _ELSEWHERE_S = 0.5, 5.0
"""Seconds that a server on this machine, and on another one, has to take a connection."""


def check_room(home: Path) -> str:
    """Free space of the state folder, in words.

    Raises:
        StudyError: when there is too little to begin with.
    """
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE:
        raise StudyError(
            f"{home} has {free / 1e6:,.0f} MB free; a run needs {LEAST_FREE / 1e6:,.0f} MB "
            "at least. Free some space (`dnd gc` tells what nothing needs any more), or set "
            "DND_HOME to a folder with room."
        )
    return f"{free / 1e9:.0f} GB free"


def answers(address: str) -> bool | None:
    """Whether anything takes a connection at a server's address.

    None where that cannot be told without sending anything: behind a proxy.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    local = is_loopback(host)
    if not local and _behind_proxy(parts.scheme, host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), _LOOPBACK_S if local else _ELSEWHERE_S):
            return True
    except OSError:
        return False


def _behind_proxy(scheme: str, host: str) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host)
