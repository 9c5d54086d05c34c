"""HTTP/1.1 over TCP, with TLS where the address says https; otherwise as unixhttp.py has it."""

import asyncio
import ssl
from urllib.parse import urlsplit

from batchery.engines.unixhttp import Connection, Hangup, UnixHttp


class TcpHttp(UnixHttp):
    """A client of the API at ``http://host:port`` or ``https://host``; a path there is not looked at."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        parts = urlsplit(address)
        self._server = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._netloc = parts.netloc.rpartition("@")[2]

    async def _open(self) -> Connection:
        try:
            streams = await asyncio.open_connection(self._server, self._port, ssl=self._tls)
        except OSError as error:
            raise Hangup(f"{self.path}: {error.strerror or error}") from None
        return Connection(*streams, host=self._netloc)
