"""Downloads, against servers on this machine."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import os
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gan.errors import BadData, DiskError
from gan.storage.download import Downloader, is_public
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.rule("S7")
CONTENT = b"0123456789" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; the test's `asked` list gets every path."""

    def do_GET(self):  # noqa: N802
        self.server.asked.append(self.path)
        base = self.path.split("?")[0]
        if base.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.server.targets[base[4:]])
            self.end_headers()
        elif base == "/loop":
            self.send_response(301)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif base == "/nowhere":
            self.send_response(302)
            self.end_headers()
        elif base == "/dribble":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
        elif base == "/colours":
            self.send_response_only(500, "\x1b[31mred\x07")
            self.end_headers()
        elif base == "/missing":
            self.send_error(404)
        elif base == "/endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(CONTENT)
        elif base == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


def certificate(folder):
    """A self-signed certificate for localhost and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pem = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.handle_error = lambda *_: None  # clients that hang up are the point of these tests
    running.socket = context.wrap_socket(running.socket, server_side=True)
    running.asked, running.targets = [], {}
    running.base = f"https://127.0.0.1:{running.server_port}"
    running.client = ssl.create_default_context(cafile=pem)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def download(server, tmp_path):
    server.asked.clear()
    return Downloader(tmp_path / "cache", allow_private=True, context=server.client)


def test_a_file_is_fetched_once_checked_and_kept(server, download):
    path = download(f"{server.base}/data/midi.zip?key=1", sha256=SHA256.upper(), size=1000)
    assert path.read_bytes() == CONTENT
    assert path.name == f"{SHA256[:16]}-midi.zip"
    assert download(f"{server.base}/data/midi.zip", sha256=SHA256, size=1000) == path
    assert server.asked == ["/data/midi.zip?key=1"]
    assert os.listdir(path.parent) == [path.name]


def test_a_damaged_file_in_the_cache_is_fetched_again(server, download):
    path = download(f"{server.base}/a", sha256=SHA256, size=1000)
    path.write_bytes(b"x" * 1000)
    assert download(f"{server.base}/a", sha256=SHA256, size=1000).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("path", "options", "complaint"),
    [
        ("/a", {"sha256": "0" * 64}, "has sha256 .* not the expected"),
        ("/a", {"sha256": "0" * 63}, "64 hexadecimal digits"),
        ("/a", {"size": 999}, "larger than the 999 bytes"),
        ("/endless", {"size": 5000}, "larger than the 5,000 bytes"),
        ("/short", {"size": 5000}, "ended after 1,000 of 5,000 bytes"),
        ("/missing", {}, "answered 404"),
        ("/loop", {}, "more than 5 redirects"),
        ("/nowhere", {}, "redirects to nowhere"),
    ],
)
def test_what_is_not_as_promised_is_refused_and_leaves_nothing(server, download, path, options, complaint):
    with pytest.raises(BadData, match=complaint) as refused:
        download(server.base + path, **{"sha256": SHA256, "size": 1000, **options})
    assert refused.value.exit_code == 3
    assert not download.cache.exists() or os.listdir(download.cache) == []


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://example.org/a", "only https"),
        ("file:///etc/passwd", "only https"),
        ("ftp://example.org/a", "only https"),
        ("data:text/plain,x", "only https"),
        ("/etc/passwd", "only https"),
        ("https:///a", "names no host"),
        ("https://ada:hunter22@example.org/a", "user name or a password"),
        ("https://example.org:99999/a", "not a URL"),
        ("https://example.org/a b", "control character"),
        ("https://example.org/a\r\nHost: x", "control character"),
    ],
)
def test_other_urls_are_not_fetched(tmp_path, url, complaint):
    with pytest.raises(BadData, match=complaint) as refused:
        Downloader(tmp_path)(url, sha256=SHA256, size=1000)
    assert "hunter22" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("target", ["http://127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_redirects_are_checked_again(server, download, target):
    server.targets["bad"] = target
    with pytest.raises(BadData, match="only https"):
        download(f"{server.base}/to/bad", sha256=SHA256, size=1000)


def test_a_redirect_is_followed(server, download):
    server.targets["good"] = "/a"
    assert download(f"{server.base}/to/good", sha256=SHA256, size=1000).read_bytes() == CONTENT


def test_a_redirect_to_a_private_address_is_refused(server, tmp_path, monkeypatch):
    """The first name is let through as if it were public; the redirect leads to this machine under its own name."""
    import gan.storage.download as module

    server.targets["inside"] = f"https://127.0.0.1:{server.server_port}/secret"
    server.asked.clear()
    lookups = []

    def first_is_public(address):
        lookups.append(address)
        return len(lookups) == 1 or is_public(address)

    monkeypatch.setattr(module, "is_public", first_is_public)
    with pytest.raises(BadData, match="not public"):
        Downloader(tmp_path, context=server.client)(f"{server.base}/to/inside", sha256=SHA256, size=1000)
    assert server.asked == ["/to/inside"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "0"])
def test_this_machine_is_not_fetched_under_any_of_its_names(server, tmp_path, host):
    server.asked.clear()
    with pytest.raises(BadData, match=r"not public|no address"):
        Downloader(tmp_path, context=server.client)(f"https://{host}:{server.server_port}/a", sha256=SHA256, size=1000)
    assert server.asked == []


def test_a_name_that_leads_inside_is_refused_after_the_lookup(tmp_path, monkeypatch):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it connected"))
    with pytest.raises(BadData, match=r"10\.0\.0\.7, an address that is not public"):
        Downloader(tmp_path)("https://rebind.example/a", sha256=SHA256, size=1000)


def test_the_connection_goes_to_the_address_that_was_checked(server, download, monkeypatch):
    """A name server that answers with another address the second time is not asked a second time."""
    real, asked = socket.getaddrinfo, []

    def once(host, port, *rest, **options):
        asked.append(host)
        return real("127.0.0.1" if host == "localhost" else host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    download(f"https://localhost:{server.server_port}/a", sha256=SHA256, size=1000)
    assert asked.count("localhost") == 1


def test_a_certificate_of_nobody_is_refused(server, tmp_path):
    with pytest.raises(BadData, match="cannot be downloaded"):
        Downloader(tmp_path, allow_private=True)(f"{server.base}/a", sha256=SHA256, size=1000)


def test_a_full_disk_is_a_disk_error(server, download, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DiskError, match="No space left"):
        download(f"{server.base}/a", sha256=SHA256, size=1000)
    assert os.listdir(download.cache) == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_as_public_as_its_inside(address):
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def test_a_small_text_is_read_without_being_kept(server, download, tmp_path):
    """What nobody can know the sha256 of: an index. Size, redirects and addresses are checked as ever."""
    assert download.read(f"{server.base}/index", size=1000) == CONTENT
    with pytest.raises(BadData, match="larger than the 999 bytes"):
        download.read(f"{server.base}/index", size=999)
    assert not list(tmp_path.rglob("*index*"))


@pytest.mark.rule("L4")
def test_headers_that_arrive_a_byte_at_a_time_are_given_up(server, download, monkeypatch):
    """Each byte comes before the timeout of a silent connection."""
    monkeypatch.setattr("gan.storage.download.HEADERS", 0.5)
    begin = time.monotonic()
    with pytest.raises(BadData, match="headers of the answer took more than"):
        download(f"{server.base}/dribble", sha256=SHA256, size=1000)
    assert time.monotonic() - begin < 60


@pytest.mark.rule("L4")
def test_a_reason_of_the_server_cannot_control_the_terminal(server, download):
    with pytest.raises(BadData, match="500") as refused:
        download(f"{server.base}/colours", sha256=SHA256, size=1000)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("address", ["64:ff9b:1::a00:1", "fec0::1", "::7f00:1", "::1", "::", "64:ff9b::a00:1"])
def test_addresses_that_lead_inside_are_not_public(address):
    assert not is_public(address)


def test_weights_are_fetched_where_extractors_find_them(server, download, tmp_path, monkeypatch):
    """Asked for by name, verified, once; what is not published or not needed is refused."""
    from types import SimpleNamespace

    from gan.contracts import ExtractorEntry, WeightsFile
    from gan.data.datasets import fetch_weights
    from gan.errors import UsageError
    from gan.weights import find_weights

    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "own"))
    monkeypatch.delenv("GAN_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match="gan data fetch weights:EXTRACTOR"):
        find_weights("net.pth", SHA256)
    file = WeightsFile(name="net.pth", url=f"{server.base}/net", sha256=SHA256, size=1000, licence="MIT")
    made = {"summary": "", "target": "a:b", "paper": ""}
    for _ in range(2):
        entry = SimpleNamespace(entry=ExtractorEntry(name="net", files=(file,), **made))
        (path,) = fetch_weights(entry, download)
    assert find_weights("net.pth", SHA256) == path
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/net"]
    for weights, reason in (("none", "needs no weights"), ("x.npz", "has no address")):
        with pytest.raises(UsageError, match=reason):
            fetch_weights(SimpleNamespace(entry=ExtractorEntry(name="net", weights=weights, **made)), download)
