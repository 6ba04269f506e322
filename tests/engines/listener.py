"""A stand-in for a server: starts a child as vLLM does, answers GET /health, and nothing else.

python listener.py <port>: 0 says that it breaks, and breaks.
"""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    do_POST = do_GET


if sys.argv[1] == "0":
    print("starting")
    raise MemoryError("no room for the cache")
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
