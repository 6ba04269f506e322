"""As much of a W&B server as a run needs, until it dies."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RUN = {"id": "r", "name": "r", "displayName": "r", "config": "{}", "historyLineCount": 0}
PROJECT = {"project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}}
ANSWERS: dict[str, Any] = {
    "Viewer": {"viewer": {"id": "v", "entity": "e", "username": "e", "flags": "{}"}},
    "RunResumeStatus": {"model": {"bucket": None}},
    "UpsertBucket": {"upsertBucket": {"bucket": {**RUN, **PROJECT}, "inserted": True}},
    "CreateRunFiles": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []}},
}


class Server(ThreadingHTTPServer):
    """dies: the question after which nobody is there any more. asked: all questions so far."""

    def __init__(self, dies: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dies, self.asked = dies, list[str]()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        question = json.loads(body)["operationName"] if self.path == "/graphql" else self.path
        self.server.asked.append(question)
        if question == self.server.dies:
            threading.Thread(target=self.server.shutdown).start()
            self.server.socket.close()
        answer = json.dumps({"data": ANSWERS.get(question, {})}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass
