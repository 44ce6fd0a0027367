"""The office's process: one per directory, loopback only, guarded, and gone when told."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import psutil
import pytest

from interns.errors import Conflict, Incompatible, Unavailable
from interns.paths import Paths
from interns.settings import set_value
from orchestrator.client import OfficeClient
from orchestrator.launch import find_daemon
from orchestrator.lock import DaemonLock, lock_owner
from tests.orchestrator.waiting import until


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_second_daemon_is_refused_and_names_the_first(client, office_home):
    second = subprocess.run(
        [sys.executable, "-m", "orchestrator.daemon", "--home", str(office_home.home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"pid {client.address.pid}" in second.stderr
    assert client.status()["pid"] == client.address.pid
    assert OfficeClient.connect(office_home).address == client.address


def test_requests_need_the_token_and_this_machines_name(client, office_home):
    url = client.address.url
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert httpx.get(f"{url}/api/status").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.get(f"{url}/api/status", headers=wrong).status_code == 401
    right = {"Authorization": f"Bearer {office_home.token.read_text().strip()}"}
    assert httpx.get(f"{url}/api/status", headers=right).status_code == 200
    rebound = {**right, "Host": f"evil.test:{client.address.port}"}
    answer = httpx.get(f"{url}/api/status", headers=rebound)
    assert answer.status_code == 403
    assert set(answer.json()) == {"error", "fix", "code", "exit_code"}
    assert httpx.get(f"{url}/health", headers=rebound).status_code == 403
    assert office_home.token.stat().st_mode & 0o777 == 0o600
    listening = psutil.Process(client.address.pid).net_connections("tcp")
    assert {c.laddr.ip for c in listening if c.status == "LISTEN"} == {"127.0.0.1"}


def test_work_goes_on_with_a_new_daemon_when_the_old_one_was_killed(office_home):
    with OfficeClient.connect(office_home) as first:
        task = first.submit("Where is my parcel?", intern="triage", effect="file:a.txt")
        approval = first.wait_task(task["id"], 30)["approval_id"]
        os.kill(first.address.pid, signal.SIGKILL)
        until(lambda: gone(first.address.pid))
    assert office_home.address.exists()
    until(lambda: lock_owner(office_home.lock) is None)
    with OfficeClient.connect(office_home) as second:
        assert second.address.pid != first.address.pid
        second.approve(approval)
        assert second.wait_task(task["id"], 30)["status"] == "done"
        second.shutdown()
    assert (office_home.outbox / "a.txt").exists()


def test_who_listens_is_told_and_answered_anew_when_the_daemon_is_killed(office_home):
    """Killed amid two streams: OpenAI's client and ours get an error; the next daemon answers."""
    long = [{"role": "user", "content": "Where is my parcel, please? " * 90}]
    endless = {"model": "starter", "prompt": "a", "max_tokens": 900, "logit_bias": {"2": -100}}
    with OfficeClient.connect(office_home) as first:
        ai = openai.OpenAI(
            base_url=first.status()["openai_base_url"],
            api_key=office_home.token.read_text().strip(),
            max_retries=0,
        )
        theirs = iter(ai.completions.create(**endless, stream=True))
        next(theirs)
        ours = first.chat(long, intern="writer")
        assert next(ours)["event"] == "route"
        os.kill(first.address.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="does not answer") as caught:
            list(ours)
        assert "starts a daemon" in caught.value.fix
        with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
            list(theirs)
        with pytest.raises(Unavailable):
            first.status()
    until(lambda: lock_owner(office_home.lock) is None)
    with OfficeClient.connect(office_home) as second:
        assert list(second.chat(long, intern="writer"))[-1]["event"] == "done"
        second.shutdown()


def test_sigterm_ends_streams_in_order_and_the_daemon_within_five_seconds(office_home):
    client = OfficeClient.connect(office_home)
    events: list[dict[str, object]] = []
    follower = threading.Thread(target=lambda: events.extend(client.events(after=0)))
    follower.start()
    time.sleep(0.5)
    started = time.monotonic()
    os.kill(client.address.pid, signal.SIGTERM)
    until(lambda: gone(client.address.pid), 10)
    assert time.monotonic() - started < 5
    follower.join(5)
    assert events[-1]["event"] == "error"
    assert events[-1]["code"] == "unavailable"
    assert not office_home.address.exists()
    assert find_daemon(office_home) is None
    with pytest.raises(Unavailable):
        client.status()


def test_taken_port_is_told_with_a_fix(office_home):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        set_value(office_home, "daemon.port", str(other.getsockname()[1]))
        with pytest.raises(Conflict, match="cannot be used") as caught:
            OfficeClient.connect(office_home)
    assert "daemon.port 0" in caught.value.fix


def test_database_of_a_newer_version_is_refused_and_left_as_it_is(office_home):
    database = sqlite3.connect(office_home.database, isolation_level=None)
    database.execute("UPDATE alembic_version SET version_num = '9999_future'")
    before = list(database.iterdump())
    with pytest.raises(Incompatible, match="newer version"):
        OfficeClient.connect(office_home)
    assert list(database.iterdump()) == before
    database.close()


def test_clients_that_start_at_once_share_one_daemon(office_home):
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda _: OfficeClient.connect(office_home), range(4)))
    assert len({client.address for client in clients}) == 1
    clients[0].shutdown()


def test_nothing_is_started_when_not_wanted(tmp_path):
    with pytest.raises(Unavailable, match="No daemon runs"):
        OfficeClient.connect(Paths(tmp_path / "none"), start=False)
    assert not (tmp_path / "none").exists()


def test_lock_is_free_again_when_its_file_is_stale(tmp_path):
    path = tmp_path / "daemon.lock"
    path.write_text("999999\n")
    assert lock_owner(path) is None
    lock = DaemonLock(path)
    lock.acquire()
    assert lock_owner(path) == os.getpid()
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        DaemonLock(path).acquire()
    lock.release()
    assert lock_owner(path) is None
