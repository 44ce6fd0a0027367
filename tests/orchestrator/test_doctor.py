"""The doctor finds what is wrong and says what helps, with and without a daemon."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from interns.paths import Paths
from interns.settings import Settings
from orchestrator.doctor import examine
from orchestrator.lock import DaemonLock


def by_check(paths, settings=None):
    return {f["check"]: f for f in examine(paths, settings or Settings())}


def test_everything_is_looked_at_without_a_daemon(tmp_path):
    home = tmp_path / "new"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.doctor", "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    checks = {"python", "llama.cpp", "base", "disk", "memory", "database", "index", "daemon"}
    assert checks <= set(found)
    assert found["base"]["status"] == "ok"
    assert done.returncode == 0
    assert not home.exists()


def test_problems_come_with_a_fix(office_home):
    with sqlite3.connect(office_home.database) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999_future'")
        database.execute("UPDATE version SET base_sha256 = 'other'")
    database.close()
    office_home.token.write_text("x")
    office_home.token.chmod(0o644)
    lock = DaemonLock(office_home.lock)
    lock.acquire()
    found = by_check(office_home)
    lock.release()
    assert found["database"]["status"] == "warn"
    assert "triage, writer" in found["interns"]["found"]
    assert found["token"]["status"] == "fail"
    assert found["daemon"]["status"] == "warn"
    assert all(f["fix"] for f in found.values() if f["status"] != "ok")


def test_broken_database_and_missing_base_are_findings(tmp_path):
    paths = Paths(tmp_path).create()
    paths.database.write_bytes(b"no database at all" * 100)
    found = by_check(paths, Settings.model_validate({"base": {"name": "gone"}}))
    assert found["database"]["status"] == "fail"
    assert found["base"]["status"] == "fail"
    assert "starter" in found["base"]["fix"]


def test_taken_port_is_found(tmp_path):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings.model_validate({"daemon": {"port": other.getsockname()[1]}})
        port = by_check(Paths(tmp_path), settings)["port"]
    assert port["status"] == "fail"
    assert "daemon.port 0" in port["fix"]


def test_engine_that_answers_elsewhere_is_asked(tmp_path):
    class Models(BaseHTTPRequestHandler):
        def do_GET(self):
            served = [{"id": "starter"}] if self.path == "/v1/models" else None
            body = json.dumps({"data": served}).encode()
            self.send_response(200 if served else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def engine(**chosen):
        return by_check(Paths(tmp_path), Settings.model_validate({"engine": chosen}))["engine"]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert engine(url=url)["status"] == "ok"
    other = engine(url=url, model="large")
    assert (other["status"], "does not serve 'large'" in other["found"]) == ("fail", True)
    assert "engine.model" in other["fix"]
    server.shutdown()
    server.server_close()
    gone = engine(url=url)
    assert (gone["status"], "does not answer" in gone["found"]) == ("fail", True)
    assert "engine" not in by_check(Paths(tmp_path))
