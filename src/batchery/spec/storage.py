"""Volumes, mount points, devices: their form, and which of them host processes can do.

A host process sees the host's own files under the host's own names. So a mount whose path inside is its path outside
is already true; one under another name would be a job with other data, and its jobs are refused when they are
submitted (the definition registers: infrastructure tools must be able to). Decision 052.
Sources: API_Volume, API_MountPoint, API_EFSVolumeConfiguration, API_LinuxParameters, API_EphemeralStorage.
"""

import posixpath
import re
from collections.abc import Sequence
from typing import Final

from batchery.api.shapes import (
    ContainerProperties,
    EFSVolumeConfiguration,
    LinuxParameters,
    MountPoint,
    S3FilesVolumeConfiguration,
    Volume,
)
from batchery.core.messages import Refused

ROOT_CHARS: Final = 4096
_VOLUME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
#: With or without "=value".
_MOUNT_OPTION: Final = re.compile(
    "(defaults|ro|rw|suid|nosuid|dev|nodev|exec|noexec|sync|async|dirsync|remount|mand|nomand|atime|noatime|diratime|"
    "nodiratime|bind|rbind|unbindable|runbindable|private|rprivate|shared|rshared|slave|rslave|relatime|norelatime|"
    "strictatime|nostrictatime|mode|uid|gid|nr_inodes|nr_blocks|mpol)(=.*)?"
)
_WINDOWS: Final = "WINDOWS_SERVER_"


def check_volumes(volumes: Sequence[Volume], *, fargate: bool, job_role: bool) -> None:
    """The volumes of a task. ``job_role``: whether it has one."""
    names = set()
    for volume in volumes:
        if not volume.name or _VOLUME.fullmatch(volume.name) is None:
            raise Refused(f"Volume name is not valid: {volume.name or ''}", True)  # ours
        if volume.name in names:
            raise Refused(f"Volume name is used more than once: {volume.name}", True)  # ours
        names.add(volume.name)
        kinds = (volume.efs_volume_configuration, volume.s3files_volume_configuration, _source(volume) or None)
        if sum(kind is not None for kind in kinds) > 1:
            raise Refused(
                "When the volume parameter is specified, only one volume configuration type should be used.", True
            )
        if fargate and _source(volume):
            raise Refused("host.sourcePath should not be set for volumes in Fargate.", True)
        if volume.efs_volume_configuration is not None:
            _check_efs(volume.efs_volume_configuration, job_role)
        if volume.s3files_volume_configuration is not None:
            _check_s3files(volume.s3files_volume_configuration)


def _source(volume: Volume) -> str:
    return (volume.host.source_path if volume.host else None) or ""


def check_mounts(mounts: Sequence[MountPoint] | None, volumes: Sequence[Volume]) -> None:
    """The mount points of a container, in a task with these volumes."""
    names = {volume.name for volume in volumes}
    for mount in mounts or ():
        if mount.source_volume not in names:
            raise Refused(f"Unknown volume '{mount.source_volume or ''}' in mountPoints", True)  # ours
        if not mount.container_path:
            raise Refused(f"mountPoints of volume '{mount.source_volume}' must have a containerPath", True)  # ours


def _check_port(port: int | None) -> None:
    if port is not None and not 0 <= port <= 65535:
        raise Refused("TransitEncryptionPort must be a valid port number.", True)


def _check_efs(efs: EFSVolumeConfiguration, job_role: bool) -> None:
    """API_EFSVolumeConfiguration, API_EFSAuthorizationConfig."""
    _check_port(efs.transit_encryption_port)
    if len(efs.root_directory or "") > ROOT_CHARS:
        raise Refused(f"rootDirectory must be at most {ROOT_CHARS} characters", True)  # ours
    auth = efs.authorization_config
    point, iam = (auth.access_point_id, auth.iam == "ENABLED") if auth else (None, False)
    if point and efs.root_directory not in (None, "", "/"):
        words = 'the root directory must either be set to "/" or omitted'
        raise Refused(f"When using an EFS access point, {words}", True)
    if (point or iam) and efs.transit_encryption != "ENABLED":
        what = "authorization" if iam else "access point"
        raise Refused(f"EFS IAM {what} requires TransitEncryption to be enabled.", True)
    if iam and not job_role:
        raise Refused("jobRoleArn is required for EFS with IAM authorization", True)  # ours


def _check_s3files(files: S3FilesVolumeConfiguration) -> None:
    """API_S3FilesVolumeConfiguration."""
    _check_port(files.transit_encryption_port)
    for name, arn in (("fileSystemArn", files.file_system_arn), ("accessPointArn", files.access_point_arn)):
        if arn is not None and not arn.startswith("arn:"):
            raise Refused(f"{name} of s3filesVolumeConfiguration is not valid: {arn}", True)  # ours


def check_devices(linux: LinuxParameters | None) -> None:
    """API_LinuxParameters, API_Tmpfs."""
    if linux is None:
        return
    if linux.swappiness is not None and not 0 <= linux.swappiness <= 100:
        raise Refused(f"Invalid swappiness: {linux.swappiness}, must be between 0 and 100.", True)
    if linux.max_swap is not None and linux.max_swap < 0:
        raise Refused(f"Invalid swap memory size: {linux.max_swap}, must be non-negative.", True)
    if linux.shared_memory_size is not None and linux.shared_memory_size < 0:
        raise Refused("sharedMemorySize must not be negative", True)  # ours
    for tmpfs in linux.tmpfs or ():
        if tmpfs.size < 1:
            words = "The size is required and must be a positive integer."
            raise Refused(f"Size of a tmpfs is invalid. {words}", True)
        for option in tmpfs.mount_options or ():
            if _MOUNT_OPTION.fullmatch(option) is None:
                raise Refused(f"mountOptions of tmpfs are not valid: {option}", True)  # ours


def check_host_process(container: ContainerProperties) -> None:
    """Refuse what would make a host process run with other data, or on another system, than the definition says.

    ``container``: as `place.placed` gives it.
    """
    volumes = {volume.name: volume for volume in container.volumes or ()}
    for mount in container.mount_points or ():
        volume, inside = volumes[mount.source_volume], mount.container_path or ""
        outside = (volume.host.source_path if volume.host else None) or ""
        if outside and posixpath.normpath(outside) != posixpath.normpath(inside):
            raise _not_here(f"mountPoints {inside}, whose volume is the host's {outside} (the two must be the same)")
    for device in (container.linux_parameters.devices if container.linux_parameters else None) or ():
        if device.container_path and device.container_path != device.host_path:
            raise _not_here(f"devices {device.container_path}, which is the host's {device.host_path}")
    family = container.runtime_platform.operating_system_family if container.runtime_platform else None
    if family and family.startswith(_WINDOWS):
        raise _not_here(f"operatingSystemFamily {family}")


def _not_here(what: str) -> Refused:
    return Refused(f"Jobs run as host processes, which cannot have {what}")
