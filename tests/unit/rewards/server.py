"""A reward server on this machine that does what a test plans."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Scores completions by length; `plan` says what the next requests get instead: a status, `hang`, `drop`, or any
    answer.
    """

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.plan: list = []
        self.retry_after: str | None = None
        self.encoding: str | None = None
        self.at_once = self.most_at_once = 0
        self.slowness = 0.0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    what = outer.plan.pop(0) if outer.plan else None
                time.sleep(outer.slowness)
                with lock:
                    outer.at_once -= 1
                if what == "hang":
                    outer.released.wait(10)
                if what in ("hang", "drop"):
                    return
                answer = (
                    {"scores": [float(len(text)) for text in body["completions"]]}
                    if what is None or isinstance(what, int)
                    else what
                )
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(what if isinstance(what, int) else 200)
                if outer.retry_after is not None:
                    self.send_header("Retry-After", outer.retry_after)
                if outer.encoding is not None:
                    self.send_header("Content-Encoding", outer.encoding)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/score"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
