"""Held against a bare requests session: whatever it reads the JSON of, so do we, and the same."""

import gzip
import json
import struct
import time
import zlib
from typing import Any, NamedTuple

import pytest
import requests
from conftest import KEY, NO_RETRY, Upstream, http
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rapidfailover import AllProvidersFailed, FailoverClient, ProviderRegistry

GOOD = b'{"ok": true}'
ZIPPED = gzip.compress(GOOD)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def upstream():
    """Sends the pieces that the test lays out, to everybody who asks, and closes."""
    def play(connection):
        for piece in server.pieces:
            connection.sendall(piece)

    with Upstream(play) as server:
        yield server


def bare(upstream):
    """What a plain session makes of it; whatever it raises, it could not read it."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://127.0.0.1:{upstream.port}/thing", timeout=5.0).json()
    except Exception as problem:
        return problem


def ours(upstream, **options):
    """The data of one call, by a client that knows nothing of the calls before; its only attempt where it fails."""
    options = {"matrix": NO_RETRY, "refresh": False, "timeout": 5.0, **options}
    with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, **options) as client:
        try:
            return client.call("raw", "/thing").data
        except AllProvidersFailed as error:
            return error.attempts[0]


# --- texts: JSON in bytes, as servers label them ---

class Text(NamedTuple):
    body: bytes
    label: Any  # the Content-Type, or None
    data: Any = None  # what it is, where a bare session may take it for something else


def documents():
    words = st.text(st.one_of(st.characters(blacklist_categories=["Cs"]), st.sampled_from("äößéñ€日本한国размер😀")), max_size=8)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), words)
    values = st.recursive(leaves, lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)), max_leaves=5)
    return st.one_of(st.lists(values, max_size=3), st.dictionaries(words, values, max_size=3))


CHARSETS = ["iso-8859-1", "ISO-8859-15", "latin1", "cp1252", "Windows-1251", "koi8-r", "gbk", "GB18030", "Shift_JIS", "EUC-JP",
            "euc-kr", "big5", "utf-16", "UTF-16LE", "utf-32", "utf-8", "UTF8", "utf-8-sig", "iso_8859-1:1987"]
SPELLINGS = ["application/json; charset={}", "application/json;charset={}", 'text/html; charset="{}"', "text/plain; Charset = {}",
             "application/json; charset='{}'; v=1", "; charset={}", 'application/json; charset=" {} "', "a/b; x-charset=hex; charset={}",
             "application/json; charset=hex; charset={}"]
WORDS = "größe, размер, 大小和名称, 크기와 이름, サイズ"
LABELS = [None, "application/json", "application/json; charset=utf-8", "text/html", "text/plain; charset=latin-1", "text/html; charset=",
          "application/problem+json; charset=nonsense", "image/png", "", ";", "charset", "=", "application/json; charset=hex"]


@st.composite
def texts(draw):
    document = draw(documents())
    written = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1])))
    blanks = draw(st.tuples(*[st.text("\r\n\t ", max_size=3)] * 2))
    written = blanks[0] + written + blanks[1]
    kind = draw(st.sampled_from(["UTF-8", "UTF-8", "BOM and zeros", "declared", "one bad byte"]))
    if kind == "UTF-8":  # whatever its label says
        return Text(written.encode(), draw(st.sampled_from(LABELS)), document)
    if kind == "BOM and zeros":
        coding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]))
        return Text(written.strip().encode(coding), draw(st.sampled_from([None, "application/octet-stream"])), document)
    if kind == "declared":
        charset = draw(st.sampled_from(CHARSETS))
        body = json.dumps([document, WORDS], ensure_ascii=False).encode(charset, "replace")
        try:  # what is UTF-8 is that before anything that is declared (RFC 8259 §8.1)
            return Text(body, draw(st.sampled_from(SPELLINGS)).format(charset), json.loads(body.decode()))
        except ValueError:
            return Text(body, draw(st.sampled_from(SPELLINGS)).format(charset))
    body = json.dumps([document, "cut he\0re"], ensure_ascii=False).encode().replace(b"\\u0000", draw(st.sampled_from([b"\xe4", b"\xff", b"\xc3"])))
    return Text(body, draw(st.sampled_from(LABELS[:4] + ["text/plain; charset=utf-8"])),  # where none is named, a bare session guesses
                json.loads(body.decode("utf-8", "replace")))


# --- codings ---

@st.composite
def zipped(draw, body):
    """Several members, each with such a header as RFC 1952 §2.3 has, and padding behind the last."""
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
    whole = b""
    for start, end in zip([0, *cuts], [*cuts, len(body)]):
        flags, extra = draw(st.integers(0, 31)), draw(st.binary(max_size=20))
        head = struct.pack("<BBBBIBB", 0x1f, 0x8b, 8, flags, draw(st.integers(0, 2 ** 32 - 1)), 2, 255)
        head += struct.pack("<H", len(extra)) + extra if flags & 4 else b""
        head += b"name.json\0" if flags & 8 else b""
        head += "größe\0".encode("latin-1") if flags & 16 else b""
        head += struct.pack("<H", zlib.crc32(head) & 0xffff) if flags & 2 else b""
        part = body[start:end]
        whole += head + squeezed(part, -15, draw(st.integers(0, 9))) + struct.pack("<II", zlib.crc32(part), len(part))
    return whole + draw(st.sampled_from([b"", b"", b"\0", b"\0" * 700, b"\r\n", b"garbage", b"\x1fgarbage", b"\0" + ZIPPED]))


def squeezed(body, wbits, level=6):
    squeeze = zlib.compressobj(level, zlib.DEFLATED, wbits)
    return squeeze.compress(body) + squeeze.flush()


@st.composite
def coded(draw, body):
    """Up to five codings on top of each other, or names that are none; and how the header has them."""
    if draw(st.integers(0, 2)) == 0:
        senseless = st.sampled_from(["UTF-8", "none", "binary", "aws-chunked", "identity", "", "gzip2", "gzip;q=1", "a" * 900])
        return body, draw(st.lists(senseless, max_size=8))
    names = draw(st.lists(st.sampled_from(["gzip", "GZIP", "x-gzip", "deflate", "Deflate"]), min_size=1, max_size=5))
    for name in names:
        if name.lower() == "deflate":
            wbits = draw(st.integers(9, 15)) * draw(st.sampled_from([1, -1]))
            body = squeezed(body, wbits, draw(st.integers(0, 9))) + draw(st.sampled_from([b"", b"\0\0", b"garbage"]))
        else:
            body = draw(zipped(body))
    return body, names


# --- framing ---

@st.composite
def in_chunks(draw, body):
    sizes = draw(st.lists(st.integers(1, max(1, len(body))), max_size=12)) or [len(body) or 1]
    lines, start = b"", 0
    while start < len(body):
        piece = body[start:start + sizes[start % len(sizes)]]
        size = draw(st.sampled_from(["%x", "%X", "%04x", "%x ", "%x;x=y", '%x ;x="y z"', "%x;" + "x" * 300])) % len(piece)
        lines += size.encode() + b"\r\n" + piece + b"\r\n"
        start += len(piece)
    return lines + draw(st.sampled_from([b"0\r\n", b"000;x\r\n"])) + draw(st.sampled_from([b"\r\n", b"X: y\r\nContent-Length: 3\r\n\r\n", b""]))


@st.composite
def framed(draw, body):
    """The body on the wire, and the fields that say how long it is."""
    size, rest = len(body), draw(st.sampled_from([b"", b"", b"rest", b"HTTP/1.1 200 OK\r\n\r\n"]))
    kind = draw(st.sampled_from(["length", "lengths", "no length", "chunks", "chunks"]))
    if kind == "length":
        return body + rest, [("Content-Length", draw(st.sampled_from(["%d", "%d", "000%d", "+%d", "  %d  ", "\t%d"])) % size)]
    if kind == "lengths":
        values = draw(st.sampled_from(["%d, %d", "%d,0%d", "%d , +%d"])) % (size, size)
        if draw(st.booleans()):
            return body, [("Content-Length", values)]
        return body + rest, [("Content-Length", value) for value in values.split(",")]
    if kind == "no length":
        return body, draw(st.sampled_from([[], [("Content-Length", "")], [("Content-Length", "many")], [("Content-Length", "-1")],
                                           [("Transfer-Encoding", "identity")]]))
    fields = [("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked", " chunked ", "gzip, chunked", "chunked, identity"])))]
    length = draw(st.sampled_from([None, "0", "5", str(size), "many"]))
    return draw(in_chunks(body)), fields + ([] if length is None else [("Content-Length", length)])


NOISE = st.sampled_from([
    ("Date", "yesterday"), ("Retry-After", "-5"), ("Retry-After", "3600"), ("Location", "http://[::1"), ("Set-Cookie", "a=b; Expires=never"),
    ("X-RateLimit-Requests-Remaining", "many"), ("X-RateLimit-Requests-Limit", "1e999"), ("WWW-Authenticate", "Basic"), ("Upgrade", "h2c"),
    ("Connection", "close"), ("Connection", "keep-alive"), ("Keep-Alive", "timeout=-1"), ("Trailer", "X"), ("Vary", "*"), ("X-Empty", ""),
    ("X-Long", "y" * 5000), ("X-Folded", "a\r\n b\r\n\tc"), ("X-Latin", "gr\xf6\xdfe"), ("Content-MD5", "wrong"), ("Content-Range", "bytes 0-0/1")])


@st.composite
def answers(draw):
    """A text, and the bytes of an answer that carries it."""
    text = draw(texts())
    body, names = draw(coded(text.body))
    wire, fields = draw(framed(body))
    if names:
        cut = draw(st.integers(0, len(names)))  # in one header line or in two
        fields += [("Content-Encoding", draw(st.sampled_from([",", ", ", " ,\t"])).join(part)) for part in (names[:cut], names[cut:]) if part]
    if text.label is not None:
        fields.append(("Content-Type", text.label))
    fields = draw(st.permutations(fields + draw(st.lists(NOISE, max_size=6)))) if "Content-Encoding" not in dict(fields) else fields + draw(
        st.lists(NOISE, max_size=6))
    fields += [(f"X-{number}", "y" * number) for number in range(draw(st.sampled_from([0, 0, 0, 80])))]
    end = draw(st.sampled_from(["\r\n", "\r\n", "\n"]))
    spell = draw(st.sampled_from([str, str.lower, str.upper]))
    head = "".join(f"{spell(name)}:{draw(st.sampled_from([' ', '', '  ']))}{value}{end}" for name, value in fields)
    status = draw(st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 201 Created", "HTTP/1.1 206 \xfc", "HTTP/1.1 299 "]))
    before = draw(st.sampled_from(["", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100\r\nX: y\r\n\r\n" * 3]))
    return text, f"{before}{status}{end}{head}{end}".encode("latin-1") + wire


def in_pieces(answer, cuts):
    """As it goes over the socket."""
    cuts = sorted(cut % (len(answer) + 1) for cut in cuts)
    return [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)])]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*unclosed.*")  # a bare session on urllib3 1.26 leaves sockets open when it fails
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(answer=answers(), cuts=st.lists(st.integers(0, 10 ** 4), max_size=6))
def test_what_a_bare_session_reads_is_read_and_the_same(upstream, answer, cuts):
    """Any framing, any coding, any charset. We differ in two things only: what is UTF-8 is read as that whatever charset
    is declared, and where none is declared, a byte that is no UTF-8 becomes U+FFFD, where a bare session guesses.
    """
    text, wire = answer
    upstream.pieces = in_pieces(wire, cuts)
    theirs = bare(upstream)
    assume(not isinstance(theirs, Exception))
    assert ours(upstream) == (theirs if text.data is None else text.data)


# --- what a bare session reads on some stack, and we do not, besides what test_transport.py has ---

DEFLATED = squeezed(GOOD, 15)


@pytest.mark.parametrize("coding, body, why", [
    ("gzip", ZIPPED[:-1], "cut short"),
    ("deflate", DEFLATED[:-1], "cut short"),
    ("deflate", squeezed(GOOD, -15)[:-1], "cut short"),
    ("deflate, gzip", gzip.compress(DEFLATED[:-1]), "cut short"),
    ("deflate, gzip", gzip.compress(DEFLATED)[:-1], "cut short"),
    ("gzip", ZIPPED + b"\x1f", "cut short"),
    ("gzip", ZIPPED + b"\x1f\x8b", "cut short"),
    ("gzip", ZIPPED + gzip.compress(b"")[:-8] + b"12345678", "incorrect data check"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_coding_that_is_not_whole_is_refused_even_if_the_json_is(upstream, coding, body, why):
    upstream.pieces = [http(body, Content_Encoding=coding)]
    assert bare(upstream) == {"ok": True}
    attempt = ours(upstream)
    assert attempt.action == "bad gateway" and attempt.detail.startswith("bad payload: ") and why in attempt.detail


# --- what hostile upstreams could make of it ---

def in_these_chunks(*chunks, **fields):
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()).encode()
    return CHUNKED + head + b"\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("chunks", [(ZIPPED + b"\x1f", b"garbage"), (ZIPPED + b"\0\0", ZIPPED), (ZIPPED, b"\x1f", b"\x8b", b"garbage")])
def test_what_follows_a_gzip_is_ignored_wherever_it_is_cut(upstream, chunks):
    """A bare session reads it as well, but for some versions of zlib."""
    upstream.pieces = [in_these_chunks(*chunks, Content_Encoding="gzip")]
    assert ours(upstream) == {"ok": True}


@pytest.mark.parametrize("members", [(GOOD[:5], GOOD[5:]), (b"", GOOD, b"", b"")])
def test_members_of_a_gzip_are_read_wherever_they_are_cut(upstream, members):
    whole = b"".join(map(gzip.compress, members))
    upstream.pieces = [in_these_chunks(*(whole[number:number + 1] for number in range(len(whole))), Content_Encoding="gzip")]
    assert bare(upstream) == ours(upstream) == {"ok": True}


def test_members_without_end_in_a_gzip_take_no_time(upstream):
    """9.6 MB of empty members, in 23 KB: what follows a member must not be copied as a whole for each of them."""
    upstream.pieces = [http(gzip.compress(gzip.compress(b"") * 480_000), Content_Encoding="gzip, gzip")]
    began = time.monotonic()
    assert "too many members" in ours(upstream).detail
    assert time.monotonic() - began < 3.0  # it was half a minute


def test_a_list_of_codings_without_end_is_refused_as_urllib3_does(upstream):
    """urllib3 1.26 would make an inflater of each name, 7 KB a piece."""
    upstream.pieces = [http(ZIPPED, Content_Encoding="gzip" + ",x" * 5)]
    assert isinstance(bare(upstream), Exception)
    assert "too many content encodings" in ours(upstream).detail


@pytest.mark.parametrize("label", ["text/html; charset", "application/json; charset; v=1"])
def test_a_charset_without_a_name_is_none(upstream, label):
    """requests 2.25 fails at it with an AttributeError, which nobody expects."""
    upstream.pieces = [http(GOOD, Content_Type=label)]
    assert ours(upstream) == {"ok": True}


@pytest.mark.parametrize("label", ['text/html; charset=" iso-8859-1 "', "a/b; x-charset=hex; charset=iso-8859-1", "a/b; charset=hex; charset=latin1"])
def test_a_charset_is_found_however_it_is_spelt(upstream, label):
    upstream.pieces = [http('["größe"]'.encode("latin-1"), Content_Type=label)]
    assert bare(upstream) == ours(upstream) == ["größe"]
