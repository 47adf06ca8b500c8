"""S3-compatible storage on this machine, for tests: moto's server, in this process."""

import logging
import os
from contextlib import contextmanager

import pytest

BUCKET = "artefacts"


@contextmanager
def serving(monkeypatch):
    """The storage's address under which this process, and those it starts, reach it."""
    pytest.importorskip("obstore", reason="the extra s3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    make_bucket(address)
    try:
        yield address
    finally:
        running.stop()


def make_bucket(address, bucket=BUCKET):
    """An empty bucket; moto keeps all of them until its server ends."""
    import httpx2

    httpx2.post(f"{address}/moto-api/reset").raise_for_status()
    httpx2.put(f"{address}/{bucket}").raise_for_status()
