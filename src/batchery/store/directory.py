"""The data directory: on a disk of this machine, and used by one server at a time."""

import fcntl
import os
from pathlib import Path
from typing import Final

from batchery.store.store import StoreError

#: File systems that other machines can write to, or that do not keep SQLite's promises about locks and syncs.
NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda", "ceph", "lustre", "beegfs", "gpfs"),
        *("pvfs2", "orangefs", "glusterfs", "davfs", "gfs2", "ocfs2", "panfs", "wekafs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.goofys", "fuse.rclone"),
        *("fuse.mount-s3", "fuse.mountpoint-s3", "fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs"),
        *("fuse.davfs", "fuse.davfs2", "fuse.beegfs", "fuse.smbnetfs", "fuse.curlftpfs", "fuse.lustre"),
    }
)
MOUNTS: Final = Path("/proc/self/mounts")


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds ``path``; "" where the system does not say (no /proc)."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = Path(os.path.realpath(path))
    best, found = -1, ""
    for line in lines:
        _, where, kind, *_ = line.split(" ")
        mount = Path(_unescape(where))
        if (real == mount or mount in real.parents) and len(mount.parts) >= best:
            best, found = len(mount.parts), kind  # of two mounts on one place the later covers the earlier
    return found


def _unescape(text: str) -> str:
    """/proc writes blanks and the like as octal, ``\\040``."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def refuse_network(path: Path, mounts: Path = MOUNTS) -> None:
    """Raises StoreError if ``path`` is on a network file system."""
    kind = file_system(path, mounts)
    if kind in NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where a database is not safe: "
            "give --data a directory on a disk of this machine"
        )


def lock(path: Path) -> int:
    """Take the data directory for this process; an open file that holds the lock. Raises StoreError if it is in use.

    The lock belongs to the open file (flock), so it ends with the process however that ends.
    """
    file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
        os.close(file)
        raise StoreError(f"another Batchery server is using {path} (pid {holder}): stop it or give --data") from None
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return file
