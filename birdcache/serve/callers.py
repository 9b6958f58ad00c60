"""Who may call the server: this machine by a name of its own, other machines by a token; and the address to listen at.

A page of another site may send requests from a browser on this machine, and by DNS rebinding its own name may lead
here. The name that was called (Host) tells such requests from others; the port does not, since tunnels change it.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from birdcache.errors import CommandError

HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII | re.IGNORECASE)
TOKEN = "token"
WAYS_OUT = {
    errno.EADDRINUSE: "another program uses it: end that one, or choose another --port (0 = any that is free)",
    errno.EACCES: "ports below 1024 are for the system: choose a --port from 1024 on",
    errno.EADDRNOTAVAIL: "it is no address of this machine: choose --host 127.0.0.1, or 0.0.0.0 for all of its own",
}


@dataclass(frozen=True)
class Callers:
    """Those who may call a server at `place`, an address and a port."""

    place: tuple[str, int]
    token: str = ""  # what others than this machine must know; "" = it alone may call, and by a name of its own

    @classmethod
    def at(cls, place: tuple[str, int]) -> Callers:
        """Those who may call a server at an address: where others reach it, it has a token."""
        return cls(place, "" if is_loopback(place[0]) else secrets.token_urlsafe(16))

    @property
    def address(self) -> str:
        """Address of the page for a browser on this machine."""
        host, port = self.place
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        asked = f"?{TOKEN}={self.token}" if self.token else ""
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{asked}"

    @property
    def cookie(self) -> str:
        """Header that makes a browser send the token with what the page asks for; "" without a token."""
        return f"{self._cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/" if self.token else ""

    @property
    def _cookie(self) -> str:
        return f"birdcache-{self.place[1]}"  # browsers do not keep the cookies of a machine's ports apart

    def refusal(self, method: str, query: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and words for those who may not call; None for the others.

        Parameters
        ----------
        headers : names in capitals, with `_` for `-`, as in the environment of a request.
        """
        host, origin = headers.get("HOST", ""), headers.get("ORIGIN")
        if self.token and not self._is_told(query, headers.get("COOKIE", "")):
            return 403, f"open the address that the server printed when it started: it ends in ?{TOKEN}=..."
        if not self.token and not is_own_name(host):
            return 421, (
                f"this server answers to names of its own machine alone (localhost or 127.0.0.1, with any port), not "
                f"to {host[:100]!a}: open {self.address}; from another machine, use a tunnel such as `ssh -L "
                f"{self.place[1]}:127.0.0.1:{self.place[1]} MACHINE`, or start the server with --host 0.0.0.0"
            )
        if method not in ("GET", "HEAD") and origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, f"pages of other sites may not use this server: open {self.address.partition('?')[0]} itself"
        return None

    def _is_told(self, query: str, cookies: str) -> bool:
        pairs = [cookie.strip().partition("=") for cookie in cookies.split(";")]
        told = parse_qs(query).get(TOKEN, []) + [value for name, _, value in pairs if name == self._cookie]
        return any(secrets.compare_digest(each.encode(), self.token.encode()) for each in told)


def is_own_name(host: str) -> bool:
    """True if a Host header names this machine, on whatever port: localhost, any name below it, a loopback address."""
    found = HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["name"] or "").lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or is_loopback(found["v6"] or name)


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8 and ::1, also as IPv6 writes the former."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens, on which connections wait; a CommandError if address or port cannot be used."""
    if not 0 <= port < 2**16:
        raise CommandError(f"--port {port}: must be from 0 (any that is free) to 65535")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"--host {host!r}: leads to no address ({getattr(error, 'strerror', None) or error}); choose 127.0.0.1, or "
            f"0.0.0.0 for all addresses of this machine"
        ) from None
    family, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        return socket.create_server(place[:2], family=family, backlog=128)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        way_out = WAYS_OUT.get(error.errno or 0, "choose another address or port")
        raise CommandError(f"--host {host} --port {port}: cannot be used ({reason}); {way_out}") from None
