"""Where jobs run, as far as it decides what they can have: host processes or containers, and which file systems of AWS
are mounted on the host.

Amazon EFS and S3 Files are mounted by the machine's operator, once; ``[volumes]`` says where. Volumes of definitions
that name such a file system become directories of the host on their way to an engine, and engines know nothing of
either. What only says how AWS would mount it (encryption, ports, IAM) was settled when it was mounted. Decision 141.
"""

import posixpath
from typing import NamedTuple

from msgspec.structs import replace

from batchery.api.shapes import ContainerProperties, Host, Volume
from batchery.config import Config
from batchery.core.messages import Refused


class Place(NamedTuple):
    """Hashable, so that what is derived with it can be kept. ``efs`` and ``s3files``: id or ARN, and the directory."""

    host_process: bool = False
    efs: tuple[tuple[str, str], ...] = ()
    s3files: tuple[tuple[str, str], ...] = ()


def place_of(config: Config) -> Place:
    """Jobs on a Slurm cluster are processes of its nodes; what is put before their command is not known here."""
    volumes = config.volumes
    return Place(config.engine in ("process", "slurm"), tuple(volumes.efs.items()), tuple(volumes.s3files.items()))


def placed(container: ContainerProperties, place: Place) -> ContainerProperties:
    """With the host's directories in place of those file systems that are mounted here."""
    if not any(volume.efs_volume_configuration or volume.s3files_volume_configuration for volume in _all(container)):
        return container
    return replace(container, volumes=[_placed(volume, place) for volume in _all(container)])


def _all(container: ContainerProperties) -> list[Volume]:
    return container.volumes or []


def _placed(volume: Volume, place: Place) -> Volume:
    directory = ""
    if (efs := volume.efs_volume_configuration) is not None:
        point = efs.authorization_config.access_point_id if efs.authorization_config else None
        directory = _directory(dict(place.efs), efs.file_system_id, point, efs.root_directory)
    elif (files := volume.s3files_volume_configuration) is not None:
        directory = _directory(dict(place.s3files), files.file_system_arn, files.access_point_arn, files.root_directory)
    return Volume(name=volume.name, host=Host(source_path=directory)) if directory else volume


def _directory(known: dict[str, str], system: str, point: str | None, root: str | None) -> str:
    """ "" if it is mounted nowhere. An access point has a root of its own, so it needs an entry of its own."""
    mounted = known.get(point or system, "")
    inside = posixpath.normpath(f"/{root or ''}").lstrip("/")  # no way out by ".."
    return posixpath.join(mounted, inside) if mounted and inside else mounted


def check_mounted(container: ContainerProperties) -> None:
    """Of a `placed` container: refuse mounts of file systems that are mounted nowhere. Raises Refused."""
    volumes = {volume.name: volume for volume in _all(container)}
    for mount in container.mount_points or ():
        volume = volumes[mount.source_volume]
        if (efs := volume.efs_volume_configuration) is not None:
            point = efs.authorization_config.access_point_id if efs.authorization_config else None
            raise _unknown("efsVolumeConfiguration", volume, point or efs.file_system_id, "efs")
        if (files := volume.s3files_volume_configuration) is not None:
            name = files.access_point_arn or files.file_system_arn
            raise _unknown("s3filesVolumeConfiguration", volume, name, "s3files")


def _unknown(member: str, volume: Volume, name: str, setting: str) -> Refused:
    return Refused(
        f"{member} of volume {volume.name}: {name} is not mounted here. Mount it on the host, and name its directory "
        f"in the setting volumes.{setting}"
    )
