"""`image.py TARGET` does what `.ci/Dockerfile` says, without docker: in a changed view of this machine's own disk.

For root on Linux. Its steps run in a chroot over an overlay of /, so with this machine's Debian and Python instead of
the image that FROM names, each as the user, in the folder and with the variables that the file gives it. What they
write is gone afterwards; it lies in TMPDIR until then.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / ".ci/Dockerfile"
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
MOUNTED = """
mount -t overlay overlay -o lowerdir=/,upperdir="$0/upper",workdir="$0/work" "$0/root"
for each in proc dev sys; do mount --rbind /$each "$0/root/$each"; done
exec chroot "$0/root" bash -euo pipefail -c "$1"
"""


def instructions(target: str) -> list[tuple[str, str]]:
    """The instructions of one stage, each with its words, after those before the first FROM."""
    text = re.sub(r"\\\n\s*", " ", FILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    starts = [place for place, (word, _) in enumerate(found) if word == "FROM"]
    (start,) = [place for place in starts if found[place][1].endswith(f" AS {target}")]
    end = min((place for place in starts if place > start), default=len(found))
    return [*found[: starts[0]], *found[start:end]]


def ignored() -> str:
    """The files that docker would not see, as options of tar."""
    lines = FILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    names = [line.removeprefix("**/") if line.startswith("**/") else f"./{line}" for line in lines]
    return " ".join(shlex.quote(f"--exclude={name}") for name in names)


def sources(rest: str) -> list[str]:
    """The files that COPY takes from the checkout."""
    return [word for word in shlex.split(rest) if not word.startswith("--")][:-1]


def script(target: str, copied: str = "/tmp/context") -> str:
    """The stage as a script of bash, for root in the chroot."""
    context = f"rm -rf {copied}; mkdir {copied}; tar -C {ROOT} {ignored()} -cf - . | tar -C {copied} -xf -"
    lines, user = [context, "unset PYTHONPATH VIRTUAL_ENV; chmod a+rx /root"], "root"
    for word, rest in instructions(target):
        if word in ("ARG", "ENV"):
            name, _, value = rest.partition("=")
            lines.append(f'export {name}="${{{name}:-{value}}}"' if word == "ARG" else f'export {name}="{value}"')
        elif word == "WORKDIR":
            lines.append(f"mkdir -p {rest} && cd {rest}")
        elif word == "USER":
            user = rest
        elif word == "COPY":
            *_, goal = shlex.split(rest)
            owner = re.search(r"--chown=(\S+)", rest)
            named = " ".join(f"{copied}/{each}" for each in sources(rest))
            is_folder = len(sources(rest)) == 1 and (ROOT / sources(rest)[0]).is_dir()
            lines.append(f"mkdir -p {goal} && cp -a {named}{'/.' if is_folder else ''} {goal}")
            lines.append(f"chown -R {owner[1] if owner else 'root:root'} {goal if goal != './' else '.'}")
        elif word == "RUN":
            lines.append(f"echo {shlex.quote(f'RUN {rest}')}")
            lines.append(
                f"setpriv --reuid {user} --regid {user} --init-groups env HOME=/home/{user} bash -ec "
                f"{shlex.quote(rest)}"
                if user != "root"
                else rest
            )
        elif word not in KNOWN:
            raise SystemExit(f"{FILE}: {word} {rest}: image.py does not know {word}; teach it")
    return "\n".join(lines)


def main() -> None:
    """Run a stage; the exit status is that of its first step that fails."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("upper", "work", "root"):
            (Path(folder) / name).mkdir()
        command = ["unshare", "--mount", "bash", "-ec", MOUNTED, folder, script(sys.argv[1])]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
