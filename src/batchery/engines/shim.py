"""Becomes a job: reads what to be from descriptor 3, changes user and limits, and executes the program.

Started only where the agent cannot do it from outside: another user, resource limits. It imports nothing of Batchery
and runs isolated (`python -I -S`), and gets the job's environment through the descriptor, so that no variable of a
job (LD_PRELOAD ...) acts while it still has the agent's rights. Descriptor 4 is closed by a successful exec; else the
errno is written to it.
"""

import json
import os
import resource
import sys
from typing import Any

SPEC, STATUS = 3, 4


def become(spec: dict[str, Any]) -> None:
    """Change limits and user; does not return unless the program could not be executed."""
    for name, soft, hard in spec["limits"]:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), (soft, hard))
    user = spec["user"]
    if user is not None:
        uid, gid, groups = user
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])


def main() -> None:
    os.set_inheritable(STATUS, False)
    try:
        with os.fdopen(SPEC, "rb") as file:
            spec = json.load(file)
        become(spec)
    except OSError as error:
        os.write(STATUS, str(error.errno or 1).encode())
    except Exception as error:  # whatever it is, the job did not start and the agent must hear of it
        print(error, file=sys.stderr)
        os.write(STATUS, b"22")
    os._exit(127)


if __name__ == "__main__":
    main()
