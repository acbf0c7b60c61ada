"""Downloads of single files over https, with checks of size, SHA-256, redirects and addresses.

All addresses of a host are resolved once and checked, and the connection goes to a checked one, so a name that
resolves differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

from gan.errors import BadData
from gan.storage.durable import disk_errors, file_sha256, make_dirs, replacement, write_all

MAX_REDIRECTS = 5
TIMEOUT = 30.0
"""Timeout of a silent connection, in seconds."""
SLOWEST = 8 << 10
"""Lowest accepted mean speed in bytes per second, after the first minute."""
_CHUNK = 1 << 18
HEADERS = 60.0
"""Most seconds from the connection until the answer's headers are complete."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOT_PUBLIC = [ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "fec0::/10", "::/96")]
"""Local NAT64 (RFC 8215), site-local (RFC 3879) and IPv4-compatible addresses (RFC 4291), which may lead inside."""


class Downloader:
    """Implements `gan.contracts.Download`: ``download(url, sha256=…, size=…) -> path``.

    `cache` is the folder of finished downloads, which are named by their SHA-256 and checked again before each use.
    `allow_private` permits hosts in private networks and on this machine. `context` replaces the system's TLS settings
    (for a private certificate authority).
    """

    def __init__(self, cache: Path, *, allow_private: bool = False, context: ssl.SSLContext | None = None) -> None:
        self.cache = Path(cache)
        self.allow_private = allow_private
        self._context = context or ssl.create_default_context()

    def __call__(self, url: str, *, sha256: str, size: int) -> Path:
        """The path of the downloaded file: at most `size` bytes with this SHA-256.

        Raises `BadData` if it cannot be downloaded or is another file, `DiskError` if it cannot be written.
        """
        sha256 = sha256.lower()
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise BadData("the sha256 of a download has 64 hexadecimal digits", _shown(url))
        path = self.cache / f"{sha256[:16]}-{_file_name(url)}"
        with contextlib.suppress(BadData):
            if file_sha256(path) == sha256:
                return path
        make_dirs(self.cache)
        with replacement(path) as descriptor:
            found = self._fetch(url, size, descriptor, path)
            if found != sha256:
                raise BadData(f"has sha256 {found}, not the expected {sha256}; it is not used", _shown(url))
        return path

    def read(self, url: str, *, size: int) -> bytes:
        """The content at `url`, at most `size` bytes, for small texts without a known SHA-256, such as an index.

        Nothing is cached. Raises `BadData` if it cannot be downloaded.
        """
        with tempfile.TemporaryFile() as file:
            self._fetch(url, size, file.fileno(), Path(tempfile.gettempdir()))
            file.seek(0)
            return file.read()

    def _fetch(self, url: str, size: int, descriptor: int, path: Path) -> str:
        for _ in range(MAX_REDIRECTS + 1):
            parts = _checked(url)
            with self._answer(parts, url) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    location = answer.headers.get("Location")
                    if not location:
                        raise BadData(f"the server redirects to nowhere (status {answer.status})", _shown(url))
                    url = urljoin(url, location)
                    continue
                if answer.status != 200:
                    raise BadData(f"the server answered {answer.status} {_printable(answer.reason)}", _shown(url))
                return _receive(answer, url, size, descriptor, path)
        raise BadData(f"more than {MAX_REDIRECTS} redirects", _shown(url))

    @contextlib.contextmanager
    def _answer(self, parts: SplitResult, url: str) -> Iterator[http.client.HTTPResponse]:
        host, port = parts.hostname or "", parts.port or 443
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
        connection: http.client.HTTPSConnection
        if proxy and not _is_address(host):
            # the user's own proxy resolves names; addresses are still checked here
            where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            connection = http.client.HTTPSConnection(
                where.hostname or "", where.port or 3128, timeout=TIMEOUT, context=self._context
            )
            connection.set_tunnel(host, port)
        else:
            address = self._address(host, port, url)
            connection = _Pinned(host, port, address, self._context)
        deadline: _Deadline | None = None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with _Deadline(connection, HEADERS) as deadline:
                connection.request("GET", target, headers={"User-Agent": "gan-core", "Accept-Encoding": "identity"})
                answer = connection.getresponse()
            yield answer
        except (OSError, http.client.HTTPException) as error:
            reason = _printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            if deadline is not None and deadline.passed:
                reason = f"the headers of the answer took more than {HEADERS:.0f} seconds"
            raise BadData(f"cannot be downloaded: {reason}", _shown(url)) from error
        finally:
            connection.close()

    def _address(self, host: str, port: int, url: str) -> str:
        """A checked address of `host`; unless `allow_private`, all of its addresses must be public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise BadData(f"cannot be downloaded: no address for {host}", _shown(url)) from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not self.allow_private and not is_public(address):
                raise BadData(f"{host} is {address}, an address that is not public; it is not fetched", _shown(url))
        return addresses[0]


class _Pinned(http.client.HTTPSConnection):
    """A TLS connection to `address`, with the certificate of `host`."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        self.sock.do_handshake()  # where `_Deadline` can end it


def is_public(address: str) -> bool:
    """Whether an address is on the public internet, including IPv4 addresses embedded in IPv6 ones."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if any(found is not None and not is_public(str(found)) for found in inner):
            return False
        if parsed.ipv4_mapped is not None:
            return True
        if any(parsed in network for network in _NOT_PUBLIC):
            return False
    return parsed.is_global and not parsed.is_multicast


def _receive(answer: http.client.HTTPResponse, url: str, size: int, descriptor: int, path: Path) -> str:
    too_large = BadData(f"is larger than the {size:,} bytes expected", _shown(url))
    announced = answer.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > size:
        raise too_large
    digest, received, start = hashlib.sha256(), 0, time.monotonic()
    while chunk := answer.read1(_CHUNK):
        received += len(chunk)
        if received > size:
            raise too_large
        if time.monotonic() - start > 60 + received / SLOWEST:
            raise BadData(f"arrives too slowly ({received:,} bytes in a minute or more)", _shown(url))
        digest.update(chunk)
        with disk_errors(path):
            write_all(descriptor, chunk)
    if announced.isdigit() and received != int(announced):
        raise BadData(f"ended after {received:,} of {int(announced):,} bytes; try again", _shown(url))
    return digest.hexdigest()


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise BadData(f"is not a URL: {error}", _shown(url)) from error
    if parts.scheme.lower() != "https":
        raise BadData("only https is fetched", _shown(url))
    if not parts.hostname:
        raise BadData("names no host", _shown(url))
    if parts.username is not None or parts.password is not None:
        raise BadData("holds a user name or a password; such a URL is not fetched", _shown(url))
    if re.search(r"[\x00-\x20\x7f]", url):
        raise BadData("holds a space or a control character", _shown(url))
    return parts


def _shown(url: str) -> str:
    """The URL for messages: one line without a password or a query."""
    bare = re.sub(r"[\x00-\x20\x7f]", "?", re.sub(r"[?#].*", "", url, flags=re.DOTALL))
    return re.sub(r"//[^/]*@", "//", bare)[:200]


def _printable(text: str) -> str:
    """A text of a server for messages: short, one line, ASCII without control characters."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:100]


class _Deadline:
    """Ends a connection whose server sends the headers a byte at a time, which no timeout of a silent one notices."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.passed = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.passed = True
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()


def _file_name(url: str) -> str:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "file"


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True
    return False
