"""A registry of images on loopback, Debian's docker-registry: who knows the password may push and pull.

In front of it is a door of ours, which can be shut: a pull then hangs, as one that takes long.
"""

import http.client
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from tests.outside.runtimes import Runtimes

USER, PASSWORD = "ci", "secret"
_HTPASSWD = "ci:$2y$05$2OJs9LQb9EY0/3P1ulKlPufS6pBAEKcBsgbNgdFIClR63OAwNjddS\n"  # made by `htpasswd -Bbn ci secret`
_CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Registry:
    """``host`` is the registry as images name it. ``door`` cleared: nothing of an image goes out; ``knocked``: who
    waits for it."""

    def __init__(self, folder: Path, runtimes: Runtimes) -> None:
        self.folder, self.runtimes = folder, runtimes
        self.port = _free_port()
        self.door, self.knocked = threading.Event(), threading.Semaphore(0)
        self.door.set()
        (folder / "htpasswd").write_text(_HTPASSWD)
        (folder / "config.yml").write_text(_CONFIG.format(folder=folder, port=self.port))
        with open(folder / "log", "wb") as said:
            command = ["docker-registry", "serve", str(folder / "config.yml")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self.front = ThreadingHTTPServer(("127.0.0.1", 0), type("Door", (_Door,), {"registry": self}))
        self.host = f"127.0.0.1:{self.front.server_port}"
        self._serving = threading.Thread(target=self.front.serve_forever, args=(0.05,))
        self._serving.start()

    def ready(self) -> "Registry":
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, "the registry does not answer"
                time.sleep(0.05)

    def push(self, name: str, says: str, *more: str) -> str:
        """An image on busybox that prints ``says``; what to call it. ``more``: further lines of its Dockerfile.

        Pushed by Docker, which keeps nothing of it.
        """
        behind = f"127.0.0.1:{self.port}"
        image = f"{behind}/{name}"
        text = "\n".join(["FROM busybox", f'CMD ["echo", "{says}"]', *more])
        self._docker("build", "-q", "-t", image, "-", text=text)
        self._docker("login", "-u", USER, "--password-stdin", behind, text=PASSWORD)
        self._docker("push", "-q", image)
        self._docker("rmi", image)
        return f"{self.host}/{name}"

    def _docker(self, *words: str, text: str = "") -> None:
        command = ["docker", "--config", str(self.folder / "docker"), "-H", f"unix://{self.runtimes.socket('docker')}"]
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "DOCKER_BUILDKIT": "0", "HOME": str(self.folder)}
        done = subprocess.run(
            [*command, *words], input=text, text=True, capture_output=True, env=environment, check=False, timeout=60
        )
        assert not done.returncode, done.stderr

    def end(self) -> None:
        self.door.set()
        self.front.shutdown()
        self.front.server_close()
        self._serving.join()
        self.process.terminate()
        self.process.wait(10)


class _Door(BaseHTTPRequestHandler):
    """Hands requests through; those for parts of images wait while the door is shut."""

    registry: ClassVar[Registry]
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _through(self) -> None:
        if not self.registry.door.is_set() and ("/manifests/" in self.path or "/blobs/" in self.path):
            self.registry.knocked.release()
            self.registry.door.wait(60)
        with closing(http.client.HTTPConnection("127.0.0.1", self.registry.port, timeout=60)) as inner:
            inner.request(self.command, self.path, headers=dict(self.headers))
            answer = inner.getresponse()
            said = answer.read()
        try:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "date", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.headers.get("Content-Length") or str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)
        except ConnectionError:
            self.close_connection = True  # nobody waits any more

    do_GET = do_HEAD = _through  # noqa: N815

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="session")
def registry(runtimes: Runtimes) -> Iterator[Registry]:
    with tempfile.TemporaryDirectory(prefix="bt-registry-") as folder:
        made = Registry(Path(folder), runtimes)
        try:
            yield made.ready()
        finally:
            made.end()
