"""Who may call: this machine by its own names, on any port, and others by a token; all others get words."""

from __future__ import annotations

import errno
import socket

import pytest

from birdcache.errors import CommandError
from birdcache.serve.app import create_app
from birdcache.serve.callers import Callers, is_loopback, is_own_name, listening_socket
from birdcache.serve.jobs import JobQueue
from tests.birdcache.serve.conftest import MOST, Served, running

OWN = ["localhost", "localhost:9000", "LOCALHOST:1", "a.b.localhost:9000", "localhost.", "127.0.0.1:9000"]
OWN += ["127.9.8.7", "[::1]", "[::1]:9000", "[::ffff:127.0.0.1]:80"]
FOREIGN = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[::1"]
FOREIGN += [
    "0.0.0.0:8000",
    "[::]:8000",
    "192.168.1.5:8000",
    "localhost:80:90",
    "localhost, evil.example",
    "notlocalhost",
]


@pytest.mark.parametrize("host", OWN)
def test_this_machine_is_known_by_any_name_of_its_own_on_any_port(served: Served, host: str) -> None:
    assert is_own_name(host)
    status, page = served.get(host=host)
    assert (status, "<title>birdcache" in page) == (200, True)


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_is_refused_with_the_ways_out(served: Served, host: str) -> None:
    assert not is_own_name(host)
    status, words = served.get(host=host)
    assert status == 421
    assert f"open {served.callers.address}" in words
    assert "ssh -L" in words
    assert "--host 0.0.0.0" in words


def test_a_request_for_another_server_is_refused(served: Served) -> None:
    assert served.get("http://evil.example/")[0] == 421
    assert served.ask(b"GET / HTTP/1.0\r\n\r\n")[0] == 421, "without a name"


def test_the_page_works_through_a_tunnel_with_another_port(served: Served) -> None:
    for name in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000"):
        status, words = served.get("/recordings", name, f"Origin: http://{name}\r\nContent-Length: 0\r\n", "POST")
        assert (status, "no recordings were sent" in words) == (400, True)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:9000", "http://localhost", "null", "", "//["]
)
def test_pages_of_other_sites_may_not_hand_in_or_remove(served: Served, method: str, origin: str) -> None:
    status, words = served.get("/recordings", "localhost:8000", f"Origin: {origin}\r\nContent-Length: 0\r\n", method)
    assert (status, "pages of other sites" in words) == (403, True)


def test_others_need_the_token_in_the_address_or_the_cookie_that_it_becomes(queue: JobQueue) -> None:
    callers = Callers(("0.0.0.0", 8000), "sesame")
    with running(create_app(queue, MOST, callers.cookie), token="sesame") as served:
        cookie = f"Cookie: a=b; birdcache-{served.callers.place[1]}"
        for host in ("lab.example:8000", "localhost", "192.168.1.5"):
            assert served.get("/?token=sesame", host)[0] == 200
            assert served.get("/", host, f"{cookie}=sesame\r\n")[0] == 200
            for path, more in (
                ("/", ""),
                ("/?token=", ""),
                ("/?token=Sesame", ""),
                ("/?token=%FF", ""),
                ("/?x=sesame", ""),
            ):
                status, words = served.get(path, host, more)
                assert (status, "ends in ?token=" in words) == (403, True)
            assert served.get("/", host, f"{cookie}=\r\n")[0] == 403
            assert served.get("/recordings", host, f"{cookie}=sesame\r\nOrigin: http://evil\r\n", "POST")[0] == 403
    assert callers.address == "http://127.0.0.1:8000/?token=sesame"
    assert callers.cookie == "birdcache-8000=sesame; HttpOnly; SameSite=Strict; Path=/"


def test_the_page_brings_the_cookie(queue: JobQueue) -> None:
    client = create_app(queue, MOST, "birdcache-1=x; HttpOnly; SameSite=Strict; Path=/").test_client()
    assert client.get("/").headers["Set-Cookie"].startswith("birdcache-1=x; HttpOnly")


def test_only_addresses_that_others_reach_have_a_token_and_each_start_a_new_one() -> None:
    for address in ("127.0.0.1", "127.0.1.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(address)
        assert Callers.at((address, 8000)).token == ""
    tokens = {Callers.at((address, 8000)).token for address in ("0.0.0.0", "::", "192.168.1.5", "fe80::1%eth0")}
    assert len(tokens) == 4
    assert min(map(len, tokens)) > 20
    assert Callers.at(("::1", 8000)).address == "http://[::1]:8000/"


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", -1, "--port -1: must be from 0 (any that is free) to 65535"),
        ("127.0.0.1", 65536, "--port 65536: must be from 0"),
        ("no.such.invalid", 8000, "--host 'no.such.invalid': leads to no address"),
        ("a" * 64, 8000, "leads to no address"),
        ("a\x00\x1b[1m", 8000, r"--host 'a\x00\x1b[1m': leads to no address"),
        ("203.0.113.1", 8000, "it is no address of this machine: choose --host 127.0.0.1"),
    ],
)
def test_an_address_that_cannot_be_is_told_with_the_way_out(host: str, port: int, words: str) -> None:
    with pytest.raises(CommandError) as told:
        listening_socket(host, port)
    assert words in str(told.value)


def test_a_port_below_1024_is_told_as_one_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", deny)
    with pytest.raises(CommandError, match=r"\(Permission denied\); ports below 1024 are for the system"):
        listening_socket("127.0.0.1", 80)


def test_a_port_that_is_taken_is_told_and_port_0_is_a_free_one() -> None:
    with listening_socket("127.1", 0) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(CommandError, match=r"Address already in use\); another program uses it"):
            listening_socket("localhost", port)
