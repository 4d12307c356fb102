"""A provider's host on loopback that answers as a function says: ``answer(path, params) -> (status, payload)``."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from rapidfailover import ProviderConfig


class LocalHost:
    """Keeps what was asked in ``asked``: the params of each request, in the order of their arrival."""

    def __init__(self, answer):
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet
            disable_nagle_algorithm = True

            def do_GET(handler):
                parts = urlsplit(handler.path)
                params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                self.asked.append(params)
                status, payload = answer(parts.path, params)
                body = json.dumps(payload).encode()
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(handler, *args):
                pass

        ThreadingHTTPServer.request_queue_size = 128
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *args: None  # the client went away
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def provider(self, name="own", priority=1, **options):
        return ProviderConfig(name, f"{name}.p.rapidapi.com", priority, base_url=self.url, **options)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()
