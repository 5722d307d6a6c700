"""The real gcloud, asked without an account: would it take a line, does it understand a file?"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.availability import cannot_run

_PATIENCE_SECONDS = 240.0
_LOAD_BUILDS = """
import json, sys
from googlecloudsdk.api_lib.cloudbuild import cloudbuild_util, config
messages = cloudbuild_util.GetMessagesModule()
for path in sys.argv[1:]:
    build = config.LoadCloudbuildConfigFromPath(path, messages, params={})
    print(json.dumps([step.id for step in build.steps]))
"""
_CHECK_SOURCE = """
import sys
from googlecloudsdk.command_lib.functions import source_util
source_util.ValidateDirectoryHasRequiredRuntimeFiles(*sys.argv[1:])
"""
_LIST_UPLOAD = """
import sys
from googlecloudsdk.command_lib.util import gcloudignore
chooser = gcloudignore.GetFileChooserForDir(sys.argv[1], ignore_file=sys.argv[2])
print("\\n".join(chooser.GetIncludedFiles(sys.argv[1], include_dirs=False)))
"""


@dataclass(frozen=True)
class RealGcloud:
    """An installed gcloud and the Python that it runs on."""

    program: str
    root: Path
    python: str
    environment: Mapping[str, str]

    def complaints(self, lines: Iterable[str]) -> dict[str, str]:
        """Return what it has against each line that it would refuse; it is started once for all."""
        # The linter takes any word behind a flag for its value, also behind one that has none. So
        # a line may also be right with all its words in front, where they mean the same.
        variants = {line: (line, _words_first(line)) for line in lines}
        found = self._lint({variant for both in variants.values() for variant in both})
        return {
            line: found[both[0]] for line, both in variants.items() if all(map(found.get, both))
        }

    def _lint(self, lines: Iterable[str]) -> dict[str, str]:
        asked = dict(enumerate(sorted(lines)))
        path = Path(self.environment["TMPDIR"]) / "commands.json"
        commands = [{"id": str(at), "command_string": line} for at, line in asked.items()]
        path.write_text(json.dumps(commands))
        lint = ["meta", "lint-gcloud-commands", f"--commands-file={path}", "--serialize"]
        answers: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads(
            self._run([self.program, *lint])
        )
        # A line of which it says nothing at all it has not understood either.
        found = {line: "no answer" for at, line in asked.items() if str(at) not in answers}
        for at, said in answers.items():
            for answer in said:
                if not answer["success"]:
                    found[asked[int(at)]] = str(answer["error_message"])
        return found

    def steps(self, *paths: Path) -> list[list[str]]:
        """Load build configurations as `gcloud builds submit` does; return the ids of the steps."""
        said = self._inside(_LOAD_BUILDS, *map(str, paths))
        return [json.loads(line) for line in said.splitlines()]

    def check_source(self, folder: Path, runtime: str) -> None:
        """Look at a folder as `gcloud functions deploy` does before it uploads anything."""
        self._inside(_CHECK_SOURCE, str(folder), runtime)

    def uploaded(self, folder: Path, ignore_file: str) -> list[str]:
        """Name the files that would be uploaded."""
        return self._inside(_LIST_UPLOAD, str(folder), ignore_file).splitlines()

    def _inside(self, program: str, *arguments: str) -> str:
        lib = self.root / "lib"
        paths = os.pathsep.join([str(lib), str(lib / "third_party")])
        run = [self.python, "-c", program, *arguments]
        return self._run(run, {"PYTHONPATH": paths})

    def _run(self, arguments: Sequence[str], more: Mapping[str, str] | None = None) -> str:
        ran = subprocess.run(
            arguments,
            env={**self.environment, **(more or {})},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{shlex.join(arguments)}: {ran.stderr[-2_000:]}"
        return ran.stdout


def _words_first(line: str) -> str:
    words = shlex.split(line)
    behind = pairwise(words)
    if any(flag[:2] == "--" and "=" not in flag and word[:2] != "--" for flag, word in behind):
        return shlex.join(sorted(words, key=lambda word: word.startswith("--")))
    return line


def find(folder: Path) -> RealGcloud:
    """Find it, or say why it cannot be asked. `folder` is for what it leaves behind."""
    program = shutil.which("gcloud")
    if program is None:
        cannot_run("gcloud is not on the PATH: nothing can say whether its lines are right")
    environment = {**os.environ, "TMPDIR": str(folder), "CLOUDSDK_CONFIG": str(folder / "config")}
    found = RealGcloud(program, Path(), "", environment)
    asked = "value(installation.sdk_root,basic.python_location)"
    root, python = found._run([program, "info", f"--format={asked}"]).split("\t")
    return RealGcloud(program, Path(root), python.strip(), environment)
