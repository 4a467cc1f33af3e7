"""Debian's package index, by apt's own means.

The system's index is read where `apt-get update` has left one. What the system lacks (long descriptions, the next
release) is fetched with a private apt configuration under a folder of ours, from the same mirror, checked by the
same keyring: nothing of the system's apt state is changed.
"""

import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional

FETCH_SECONDS = 120          # a fetch that takes longer is given up
MAX_INDEX_BYTES = 512 << 20  # unpacked; Debian's main index has about 50 MB

APT_HELPER = "/usr/lib/apt/apt-helper"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
# Which release follows which. A release missing here has no known successor, and live traffic is then seeded.
NEXT_RELEASE = {"bullseye": "bookworm", "bookworm": "trixie", "trixie": "forky"}

Stanza = Dict[str, str]


class IndexUnavailable(Exception):
    """The index could not be had; the text says why."""


@dataclass
class Target:
    """One file that apt has fetched, as `apt-get indextargets` names it."""

    filename: str
    codename: str
    component: str
    repository: str
    created_by: str


def system_targets(apt_options: Optional[List[str]] = None) -> List[Target]:
    """What apt has on disk; empty where there is no apt or nothing was fetched."""
    if not shutil.which("apt-get"):
        return []
    layout = "$(FILENAME)\t$(CODENAME)\t$(COMPONENT)\t$(REPO_URI)\t$(CREATED_BY)"
    done = subprocess.run(
        ["apt-get", *(apt_options or []), "indextargets", "--format", layout],
        capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    targets = []
    for line in done.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) == 5 and os.path.exists(fields[0]):
            targets.append(Target(*fields))
    return targets


def release_codename() -> str:
    """The running system's release: "bookworm"."""
    try:
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return "bookworm"


def mirror_of(targets: List[Target], codename: str) -> str:
    """The mirror that this system uses for `codename`."""
    for target in targets:
        if target.codename == codename and target.repository:
            return target.repository.rstrip("/")
    return DEFAULT_MIRROR


def stanzas(filename: str) -> Iterator[Stanza]:
    """The index's entries, one after the other. Continuation lines keep their line breaks."""
    with subprocess.Popen([APT_HELPER, "cat-file", filename], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from _parse(process.stdout, filename)
    if process.returncode != 0:
        raise IndexUnavailable(f"apt-helper could not unpack {filename} (exit code {process.returncode})")


def _parse(lines, name: str) -> Iterator[Stanza]:
    stanza: Stanza = {}
    field = ""
    total = 0
    for raw in lines:
        total += len(raw)
        if total > MAX_INDEX_BYTES:
            raise IndexUnavailable(f"{name} is larger than {MAX_INDEX_BYTES} bytes unpacked")
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if not line:
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += "\n" + line[1:]
        else:
            field, _, value = line.partition(":")
            stanza[field] = value.strip()
    if stanza:
        yield stanza


def fetch(folder: Path, mirror: str, codename: str, packages: bool = True, descriptions: bool = True) -> List[Target]:
    """Fetches `codename`'s main index and/or its long descriptions into `folder` and names the files.

    Raises IndexUnavailable."""
    if not shutil.which("apt-get"):
        raise IndexUnavailable("this machine has no apt-get")
    for name in ("lists/partial", "cache", "sources"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    signed_by = f"Signed-By: {KEYRING}\n" if os.path.exists(KEYRING) else ""
    (folder / "sources" / "demo.sources").write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {codename}\nComponents: main\n{signed_by}", encoding="utf-8")
    options = _private_options(folder, packages, descriptions)
    try:
        done = subprocess.run(["apt-get", *options, "update"], capture_output=True, text=True,
                              timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise IndexUnavailable(f"fetching {codename} from {mirror} took longer than {FETCH_SECONDS} s") from error
    targets = system_targets(options)
    if done.returncode != 0 or not targets:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise IndexUnavailable(f"fetching {codename} from {mirror} failed: {reason[-1] if reason else 'no index'}")
    return targets


def _private_options(folder: Path, packages: bool, descriptions: bool) -> List[str]:
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(folder / "sources"),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::Cache": str(folder / "cache"),
        "Acquire::Languages": "en" if descriptions else "none",
        "Acquire::IndexTargets::deb::Packages::DefaultEnabled": "true" if packages else "false",
        "Acquire::http::Timeout": "20",
        "Acquire::Retries": "1",
        # The private folder belongs to whoever runs the demo, so apt's own unprivileged user cannot write there.
        "APT::Sandbox::User": "",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def load_saved(path: Path) -> Iterator[bytes]:
    """The lines of an index saved as a plain or gzip file."""
    with (gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as lines:
        yield from lines


def read_file(path: Path) -> Iterator[Stanza]:
    """The entries of a Packages file given by hand, plain or .gz."""
    yield from _parse(load_saved(path), str(path))


def _order(character: str) -> int:
    # Debian Policy 5.6.12: '~' sorts before the end, letters before everything else.
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _compare_part(a: str, b: str) -> int:
    i = j = 0
    while i < len(a) or j < len(b):
        while (i < len(a) and not a[i].isdigit()) or (j < len(b) and not b[j].isdigit()):
            left = _order(a[i]) if i < len(a) and not a[i].isdigit() else 0
            right = _order(b[j]) if j < len(b) and not b[j].isdigit() else 0
            if left != right:
                return -1 if left < right else 1
            i, j = i + 1, j + 1
        start = i
        while i < len(a) and a[i].isdigit():
            i += 1
        left = int(a[start:i] or "0")
        start = j
        while j < len(b) and b[j].isdigit():
            j += 1
        right = int(b[start:j] or "0")
        if left != right:
            return -1 if left < right else 1
    return 0


def compare_versions(a: str, b: str) -> int:
    """Orders two Debian versions as dpkg does: negative, 0 or positive."""

    def split(version: str):
        epoch, colon, rest = version.partition(":")
        if not colon:
            epoch, rest = "0", version
        upstream, dash, revision = rest.rpartition("-")
        if not dash:
            upstream, revision = rest, ""
        return int(epoch) if epoch.isdigit() else 0, upstream, revision

    left, right = split(a), split(b)
    if left[0] != right[0]:
        return -1 if left[0] < right[0] else 1
    return _compare_part(left[1], right[1]) or _compare_part(left[2], right[2])
