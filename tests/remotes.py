"""Places that a team can share a DVC cache through, on this machine: a folder, an SSH server, an S3 server.

with ssh(tmp_path) as remote:
    remote.url, remote.env      # for `dvc remote add`, and for the environment of `dvc push`
    remote.stop()               # from here on nobody reaches it
"""

import hashlib
import logging
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Debian installs it where only root's path leads.
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@dataclass
class Remote:
    """Where it is, what is needed to reach it, what lies there, and how it gets lost and comes back."""

    url: str
    objects: Callable[[], dict[str, bytes]]
    stop: Callable[[], None]
    start: Callable[[], None]
    env: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def broken_objects(remote):
    """Names of what lies in the remote's files/md5 and is not what its name, a hash, says."""
    hashes = {
        name: hashlib.md5(data).hexdigest() for name, data in remote.objects().items() if name.startswith("files/md5/")
    }
    assert hashes
    return [name for name, md5 in hashes.items() if name.removesuffix(".dir").replace("/", "")[-32:] != md5]


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def plain_folder(folder: Path) -> Iterator[Remote]:
    """A folder that all can reach; it is lost when its disk is not mounted: a file is in its place."""
    store, away = folder / "store", folder / "unmounted"
    store.mkdir()

    def stop():
        store.rename(away)
        store.touch()

    def start():
        store.unlink()
        away.rename(store)

    yield Remote(str(store), lambda: files_below(store), stop, start)


@contextmanager
def ssh(folder: Path) -> Iterator[Remote]:
    """OpenSSH's server on a free port of this machine, run by the user of the tests, with keys of its own.

    The remote's environment has a home folder whose .ssh/config names the server `dvc-store`.
    """
    if SSHD is None:
        pytest.skip("there is no sshd on this machine (Debian: openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as Debian's start script does; sshd asks for it as root
    store, private = folder / "store", folder / "home" / ".ssh"
    store.mkdir()
    private.mkdir(parents=True, mode=0o700)
    for key in (folder / "host_key", private / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {private}/id_ed25519.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    (private / "config").write_text(
        f"Host dvc-store\n  HostName 127.0.0.1\n  Port {port}\n  User {pwd.getpwuid(os.geteuid()).pw_name}\n"
        f"  IdentityFile {private}/id_ed25519\n  UserKnownHostsFile {private}/known_hosts\n"
    )
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (private / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    running = []

    def start():
        with (folder / "sshd.log").open("a") as log:
            running.append(subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log))
        wait_for(port, running[-1], folder / "sshd.log")

    def stop():
        running[-1].terminate()
        running[-1].wait()

    start()
    try:
        # Without the agent of whoever runs the tests.
        env = {"HOME": str(folder / "home"), "SSH_AUTH_SOCK": ""}
        yield Remote(f"ssh://dvc-store{store}", lambda: files_below(store), stop, start, env)
    finally:
        stop()


@contextmanager
def s3(folder: Path) -> Iterator[Remote]:
    """An S3 server on a free port of this machine, with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port, endpoint = free_port(), "http://127.0.0.1"
    env = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "team"}
    env |= {"AWS_CONFIG_FILE": str(folder / "none"), "AWS_MAX_ATTEMPTS": "1"}  # one: botocore waits long between them
    running = []

    def start():
        running.append(ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False))
        running[-1].start()

    start()
    bucket = boto3.resource(
        "s3", endpoint_url=f"{endpoint}:{port}", region_name="us-east-1", aws_access_key_id="team",
        aws_secret_access_key="team",  # pragma: allowlist secret
    ).create_bucket(Bucket="team")  # fmt: skip

    def objects():
        return {one.key.removeprefix("dvc/"): one.get()["Body"].read() for one in bucket.objects.all()}

    settings = {"endpointurl": f"{endpoint}:{port}", "region": "us-east-1"}
    try:
        yield Remote("s3://team/dvc", objects, lambda: running[-1].stop(), start, env, settings)
    finally:
        running[-1].stop()


REMOTES = {"ssh": ssh, "s3": s3, "folder": plain_folder}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port, process, log):
    """Until the server listens, or it ended and says why."""
    while process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(log.read_text())
