"""A job of the workflow asks the Hub as whoever started it, and says what opens a gated model."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from workflow import link_workflow

from ptpp.models.external import explain_hub_error

TOKEN = "hf_not_a_real_one"


@pytest.fixture
def gate():
    """A Hub of this machine that lets nobody in: its address, and what it was shown."""
    shown = []

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self):
            shown.append(self.headers.get("Authorization"))
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to model org/name is restricted.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", shown
    server.shutdown()
    server.server_close()


def test_a_job_takes_the_token_along_and_says_what_a_gate_asks_for(
    gate, snakemake, tmp_path, monkeypatch
):
    address, shown = gate
    folder = link_workflow(tmp_path / "ptpp")
    (folder / "own.yaml").write_text(
        yaml.safe_dump({"scale": "own", "tokenizer": {"model": "org/name", "revision": "a" * 40}})
    )
    for name, value in (("ENDPOINT", address), ("TOKEN", TOKEN), ("HOME", str(tmp_path / "hf"))):
        monkeypatch.setenv(f"HF_{name}", value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    done = snakemake(folder, "results/own/tokenizer", "--configfile", "own.yaml")
    assert done.returncode != 0
    told = (folder / "results/own/logs/tokenizer.log").read_text()
    line = next(line for line in told.splitlines() if "error:" in line)
    assert "org/name, revision" in line and "accept its terms on the Hub and set HF_TOKEN" in line
    assert f"Bearer {TOKEN}" in shown  # one question of the library is asked without
    assert TOKEN not in told + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "is_gate"),
    [
        ("403 Client Error. Access to model x is restricted", True),
        ("Dataset 'x' is a gated dataset on the Hub.", True),
        ("You must be authenticated to access it.", True),
        ("404 Client Error: no such revision", False),
        ("no network", False),
    ],
)
def test_only_a_gate_asks_for_a_token(text, is_gate):
    assert ("set HF_TOKEN" in explain_hub_error(OSError(text))) == is_gate
