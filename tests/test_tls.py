"""TLS: a CA bundle is loaded once for many connections, sessions are resumed, and who answers is verified every time."""

import os
import ssl
import threading
import time

import pytest
import requests
import trustme
import urllib3
from conftest import KEY, NO_RETRY, http, in_threads
from faults import GOOD, LONG_AGO, World, read_head
from urllib3.util import ssl_ as urllib3_tls

from rapidfailover import AllProvidersFailed, FailoverClient, ProviderConfig, ProviderRegistry


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
    monkeypatch.setenv("NO_PROXY", "*")
    yield world
    world.close()


@pytest.fixture
def loads(monkeypatch):
    """What was loaded into contexts, in order."""
    loaded, plain = [], ssl.SSLContext.load_verify_locations

    def load(context, *args, **kwargs):
        loaded.append(args or tuple(kwargs.values()))
        return plain(context, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    return loaded


class Peer:
    """A TLS server whose context can be changed. ``kept``: how many answers it gives on a connection."""

    def __init__(self, world, tls, kept=1):
        self.tls, self.kept, self.resumed = tls, kept, []
        self.port = world.upstream(accepted=self._serve).port

    def _serve(self, connection):
        with self.tls.wrap_socket(connection, server_side=True) as secured:
            self.resumed.append(secured.session_reused)
            for number in range(self.kept):
                if not read_head(secured):
                    return
                secured.sendall(http(GOOD, Connection="close" if number + 1 == self.kept else "keep-alive"))

    def provider(self, host="localhost"):
        return ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://{host}:{self.port}")


def tls(world, issued_for="localhost", **certificate):
    context = world.context(issued_for, **certificate)
    context.num_tickets = 2  # OpenSSL's own default
    return context


def client_of(*providers, **options):
    options = {"refresh": False, "matrix": NO_RETRY, "max_stale": 0, **options}
    registry = ProviderRegistry({provider.host + str(number): [provider] for number, provider in enumerate(providers)})
    return FailoverClient(registry, api_key=KEY, **options)


def ask(client, number=0, platform="raw.p.rapidapi.com0"):
    return client.call(platform, "/thing", {"q": number}).data


# --- who answers is verified every time ---

@pytest.mark.parametrize("certificate, why", [
    (dict(issued_for="other.test"), "mismatch|doesn't match|not valid for"), (dict(not_after=LONG_AGO), "expired"),
    (dict(authority=trustme.CA()), "unable to get local issuer|self.signed"),
], ids=["wrong name", "expired", "unknown CA"])
def test_a_peer_that_is_not_who_it_was_is_refused(world, certificate, why):
    """With a session of the right one at hand: another one cannot resume it."""
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        for number in range(3):
            assert ask(client, number)
        peer.tls = tls(world, **certificate)
        for number in range(2):
            with pytest.raises(AllProvidersFailed, match=why):
                ask(client, number)
        registry = client.registry
        registry.reset()
        peer.tls = tls(world)
        assert ask(client)


def test_a_session_is_for_the_name_that_was_verified_and_no_other(world, monkeypatch):
    """One that is resumed is not verified again, so it must not serve another name at the same address."""
    monkeypatch.setattr("socket.getaddrinfo", world.getaddrinfo)
    peer = Peer(world, tls(world, "right.example"))
    with client_of(peer.provider("right.example"), peer.provider("wrong.example")) as client:
        for number in range(2):
            assert ask(client, number)
        with pytest.raises(AllProvidersFailed, match="mismatch|doesn't match"):
            ask(client, platform="raw.p.rapidapi.com1")


def test_a_ca_bundle_that_has_changed_on_disk_is_loaded_again(world):
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        assert ask(client)
        trustme.CA().cert_pem.write_to_path(world.bundle)
        with pytest.raises(AllProvidersFailed, match="unable to get local issuer|self.signed"):
            ask(client, 1)
        world.authority.cert_pem.write_to_path(world.bundle)
        client.registry.reset()
        assert ask(client, 2)


def test_a_directory_of_cas_serves_as_well_as_a_file(world, tmp_path, monkeypatch, loads):
    directory = tmp_path / "cas"
    directory.mkdir()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(directory))
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        with pytest.raises(AllProvidersFailed, match="unable to get local issuer|self.signed"):
            ask(client)
        assert len(loads) == 1


def test_verification_that_is_off_for_a_while_is_never_shared(world, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    peer = Peer(world, tls(world))
    plain = requests.Session.merge_environment_settings
    with client_of(peer.provider()) as client:
        for number in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(requests.Session, "merge_environment_settings",
                                lambda *args: {**plain(*args), "verify": False})
                with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
                    assert ask(client, number)
            with pytest.raises(AllProvidersFailed, match="unable to get local issuer|self.signed"):
                ask(client, number)


# --- what is shared ---

def test_many_connections_load_their_ca_bundle_once(world, loads):
    peers = [Peer(world, tls(world)) for _ in range(2)]
    with client_of(*(peer.provider() for peer in peers)) as client:
        in_threads(16, lambda number: ask(client, number, f"raw.p.rapidapi.com{number % 2}"))
        for number in range(3):
            ask(client, number + 100)
    assert len(peers[0].resumed) + len(peers[1].resumed) == 19 and len(loads) == 1


def test_two_clients_share_nothing(world, loads):
    peer = Peer(world, tls(world))
    for _ in range(2):
        with client_of(peer.provider()) as client:
            ask(client)
    assert len(loads) == 2 and not any(peer.resumed)


def test_a_shared_context_is_not_changed_while_it_is_used(world, monkeypatch):
    """OpenSSL frees the protocols that another thread may just be reading; urllib3 sets them for each connection."""
    changed, plain = [], ssl.SSLContext.set_alpn_protocols

    def note(context, protocols):
        changed.append(protocols)
        return plain(context, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", note)
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        for number in range(3):
            ask(client, number)
    assert len(changed) == 1


def test_what_somebody_else_makes_contexts_of_makes_one_for_each_connection(world, monkeypatch, loads):
    """truststore puts such a class in place, pyOpenSSL too."""
    Theirs = type("SSLContext", (urllib3_tls.SSLContext,), {"__module__": "truststore._api"})
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        ask(client)
        with monkeypatch.context() as patched:
            patched.setattr(urllib3_tls, "SSLContext", Theirs)
            for number in range(2):
                client.close()  # urllib3 1.26 has a connection that is opened again keep its context
                ask(client, number + 1)
        client.close()
        ask(client, 3)
    assert len(loads) == 1 + 2


def test_a_function_that_makes_contexts_and_was_replaced_is_asked_for_each_connection(world, monkeypatch):
    made, plain = [], urllib3.connection.create_urllib3_context

    def create(*args, **kwargs):
        made.append(plain(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(urllib3.connection, "create_urllib3_context", create)
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        for number in range(2):
            client.close()  # as above
            ask(client, number)
    assert len(made) == 2


def test_a_context_that_the_pool_was_given_is_used(world, loads):
    """requests 2.32.0 to 2.32.4 give one, and load the bundle into it for each connection."""
    given = urllib3_tls.create_urllib3_context()
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        ask(client)
        session, = client._transport._sessions.values()  # the pools, to look at their contexts
        adapter = session.get_adapter("https://x")
        adapter.init_poolmanager(4, 64, ssl_context=given)
        for number in range(3):
            ask(client, number + 1)
    assert len(loads) == 2 and given.get_ca_certs()


def test_a_clients_certificate_is_shown_and_its_context_not_shared(world, tmp_path, monkeypatch, loads):
    own = world.authority.issue_cert("client.example")
    own.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    context = tls(world)
    world.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    peer = Peer(world, context)
    loads.clear()
    plain = requests.Session.merge_environment_settings
    monkeypatch.setattr(requests.Session, "merge_environment_settings",
                        lambda *args: {**plain(*args), "cert": str(tmp_path / "own.pem")})
    with client_of(peer.provider()) as client:
        for number in range(2):
            assert ask(client, number)
    assert len(loads) == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # fork beside threads is the subject
def test_a_forked_child_makes_a_context_of_its_own(world, loads):
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        ask(client)
        contexts = client._transport._contexts  # how many there are is told nowhere
        before = dict(contexts._shared)
        pid = os.fork()
        if pid == 0:
            os._exit(1 if contexts._shared else 0)
        assert os.waitpid(pid, 0)[1] == 0 and contexts._shared == before != {}


# --- sessions ---

def test_a_connection_that_was_closed_is_followed_by_one_that_resumes_its_session(world):
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        for number in range(3):
            ask(client, number)
    assert peer.resumed == [False, True, True]


def test_a_connection_beside_another_resumes_its_session(world):
    peer = Peer(world, tls(world), kept=10 ** 6)
    with client_of(peer.provider(), coalesce=False) as client:
        for number in range(2):
            ask(client, number)
        together = threading.Barrier(8, timeout=20)

        def work(number):
            together.wait()
            for step in range(4):
                ask(client, 10 * number + step + 10)

        in_threads(8, work)
    assert len(peer.resumed) > 1 and peer.resumed == [False] + [True] * (len(peer.resumed) - 1)


def test_a_server_that_cannot_resume_gets_a_whole_handshake(world):
    """Restarted, say: it cannot read its own tickets any more."""
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        for number in range(2):
            ask(client, number)
        peer.tls = tls(world)
        for number in range(2, 4):
            ask(client, number)
    assert peer.resumed == [False, True, False, True]


def test_a_server_that_fails_at_what_it_should_resume_is_not_asked_for_it_twice(world):
    failing = []

    def serve(connection):
        hello = connection.recv(65536, 2)  # MSG_PEEK
        if failing and b"\x00\x29" in hello[-600:]:  # the extension pre_shared_key, which is the last one
            return
        plain._serve(connection)  # of the tests' own server

    plain = Peer(world, tls(world))
    plain.port = world.upstream(accepted=serve).port
    with client_of(plain.provider()) as client:
        for number in range(2):
            ask(client, number)
        failing.append(True)
        with pytest.raises(AllProvidersFailed):
            ask(client, 2)
        assert ask(client, 3)
    assert plain.resumed == [False, True, False]


def test_a_new_connection_takes_little_of_the_cpu_with_certifis_bundle(world, tmp_path):
    """1 ms, and 16 where each connection loads the bundle; ten times that is allowed, for other people's machines."""
    certifi = pytest.importorskip("certifi")
    with open(certifi.where(), "rb") as bundle, open(world.bundle, "ab") as ours:
        ours.write(bundle.read())
    peer = Peer(world, tls(world))
    with client_of(peer.provider()) as client:
        ask(client)
        began = time.thread_time()
        for number in range(20):
            ask(client, number + 1)
        assert (time.thread_time() - began) / 20 < 0.015
