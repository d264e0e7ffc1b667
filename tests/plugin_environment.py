"""An environment of its own, which sees the packages of this one and has no plugin."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class PluginEnvironment:
    """Runs Python, and installs plugins without asking an index.

    Attributes:
        folder: of the environment.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> PluginEnvironment:
        """A new one: without packages of its own, pip and setuptools among those that it sees."""
        venv.create(folder)
        made = cls(folder)
        site = Path(made.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        (site / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n", encoding="utf-8")
        return made

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(
        self, *arguments: str, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python ARGUMENTS``."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
        environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=cwd or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def install(self, *what: str, cwd: Path | None = None) -> None:
        """``pip install WHAT``, of which everything that it needs is there."""
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        self.run("-m", "pip", "install", "-q", *offline, *what, cwd=cwd)
