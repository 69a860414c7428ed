"""A clean clone of this tree in which tests run the real commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def clone(target: Path, profile: str = "smoke") -> Path:
    """A repository of its own with the files of this one, as git sees them, and a profile as its params."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    shutil.copy(ROOT / "profiles" / f"{profile}.yaml", target / "params.yaml")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        subprocess.run([*git, *command], cwd=target, check=True)
    return target


def environment() -> dict[str, str]:
    """This interpreter first in PATH, the clone's own code first in Python's."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": "."}


def run(folder: Path, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """A command in the clone; its output is in `.stdout`, its errors too."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )


def pipeline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline ...` in the clone."""
    return run(folder, "python", "-m", "pipeline", *arguments)


def repro(folder: Path) -> set[str]:
    """`dvc repro` in the clone; the stages that ran. Fails the test if it fails."""
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout
    return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}


def edit(folder: Path, old: str, new: str) -> None:
    """Change params.yaml as a user would."""
    path = folder / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
    path.write_text(text.replace(old, new))
