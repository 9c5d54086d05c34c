"""What all tests share: a record of the request members that boto3 sent, test by test, held to docs/members.

Things outside of the project that tests need have a file each in tests/outside.
"""

import os
from collections.abc import Iterator
from typing import Any

import botocore.client
import pytest
from tests.outside.registry import registry
from tests.outside.runtimes import runtimes
from tests.outside.slurm import slurm
from tools.members import plain, sent, unshown

__all__ = ["registry", "runtimes", "slurm"]
