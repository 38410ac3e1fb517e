"""A reward server that fails as real ones do: it answers 503 to one call in ten and hangs on one in fifty.

    python examples/rewards/flaky_server.py --port 8765

scores a POST of `{"completions": [...]}` with `{"scores": [...]}`: for each text the share of its words that are
different from all before, so that a policy learns not to repeat itself. What fails is drawn with a seed. Ctrl-C prints
what was answered.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def score(text: str) -> float:
    """Different words / words; 0 for no words."""
    words = text.lower().split()
    return len(set(words)) / len(words) if words else 0.0


def handler(fail: float, hang: float, seed: int, counts: Counter[str]) -> type[BaseHTTPRequestHandler]:
    """Return a request handler that fails and hangs with these probabilities."""
    rng, lock = random.Random(seed), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                draw = rng.random()
                kind = "failed" if draw < fail else "hung" if draw < fail + hang else "answered"
                counts[kind] += 1
            if kind == "hung":
                time.sleep(60)
                return
            data = json.dumps({"scores": [score(text) for text in json.loads(body)["completions"]]}).encode()
            self.send_response(503 if kind == "failed" else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing per request."""

    return Handler


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--fail", type=float, default=0.10, help="share of calls answered with 503")
    parser.add_argument("--hang", type=float, default=0.02, help="share of calls that are never answered")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with ThreadingHTTPServer(
        ("127.0.0.1", options.port), handler(options.fail, options.hang, options.seed, counts)
    ) as server:
        server.daemon_threads = True
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
