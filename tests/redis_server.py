"""A real redis-server for tests: on a free loopback port, in a folder of its own, started and killed at will."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

# REDIS_SERVER: another one, valkey-server for instance
PROGRAM = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """``options`` are those of redis.conf, as on its command line."""

    def __init__(self, folder, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("redis-server did not start")

    def kill(self):
        """As kill -9 does: nothing is saved, nothing is said."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self):
        """It is there, and does nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.kill()


class SlowLink:
    """A way to a server on which every piece takes ``latency`` seconds."""

    def __init__(self, port):
        self._port, self.latency = port, 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()  # whom it still let in is closed with the rest
        for one in self._sockets:
            one.close()

    def _accept(self):
        while True:
            try:
                ours = self._listener.accept()[0]
            except OSError:
                return
            self._sockets.append(ours)
            try:
                theirs = socket.create_connection(("127.0.0.1", self._port))
            except OSError:  # as a server that is away refuses it
                ours.close()
                continue
            self._sockets.append(theirs)
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while True:
                piece = one.recv(65536)
                if not piece:
                    break
                time.sleep(self.latency / 2)
                other.sendall(piece)
        except OSError:
            pass
        try:
            other.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
