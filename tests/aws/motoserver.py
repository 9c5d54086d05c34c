"""moto's server: what stands in for an AWS account in tests."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import requests
from wire_pipeline import free_port, until

REGION = "us-east-1"


class Moto:
    """An account that is empty at first. ``with Moto(folder) as moto``."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = folder / "moto.log"

    def __enter__(self) -> "Moto":
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.url.rpartition(":")[2]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
        until(self._answers, "moto's server answers")
        requests.post(f"{self.url}/moto-api/config", json={"batch": {"use_docker": False}}, timeout=10)
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self.url}/moto-api/data.json", timeout=5).ok
        except requests.ConnectionError:
            time.sleep(0.05)
            return False

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
        )
