"""Look whether what the settings name can be used, before anything starts.

Every problem is named with its variable, all of them at once.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ingest_gateway.health import HealthServer
from ingest_gateway.spool import Spool, open_spool
from quotewatch.errors import ObjectError, SettingsError, SpoolError
from quotewatch.objects.opening import local_path
from quotewatch.settings import Settings


def take_port(settings: Settings) -> HealthServer:
    """Return the health server on its port; SettingsError names all that cannot be used."""
    problems = list(_place_problems(settings))
    try:
        health = HealthServer(settings.http_port)
    except OSError as error:
        name = f"QUOTEWATCH_HTTP_PORT={settings.http_port}"
        problems.append(f"{name}: cannot be listened on: {error.strerror}; name another, or 0")
    else:
        if not problems:
            return health
        health.close()
    raise _refused(*problems)


def take_spool(settings: Settings, epoch: str) -> Spool:
    """Open the spool; SettingsError names its variable."""
    try:
        return open_spool(settings.effective_spool, epoch)
    except (SpoolError, ObjectError) as error:
        raise _refused(f"{_spool_variable(settings)}: {error}") from error


def _place_problems(settings: Settings) -> Iterator[str]:
    places: dict[str, Path] = {}  # variable -> where it has to be possible to write
    if settings.bus == "sqlite":
        places[f"QUOTEWATCH_DATA_DIR={str(settings.data_dir)!r}"] = settings.data_dir
    if not settings.effective_spool.startswith("gs://"):
        try:
            place = local_path(settings.effective_spool)
        except ObjectError as error:
            yield f"{_spool_variable(settings)}: {error}"
        else:
            places.setdefault(_spool_variable(settings), place)
    for variable, path in places.items():
        problem = _write_problem(path)
        if problem:
            yield f"{variable}: cannot be written: {problem}; name a folder that can"


def _spool_variable(settings: Settings) -> str:
    if settings.spool_dir:
        return f"QUOTEWATCH_SPOOL_DIR={settings.spool_dir!r}"
    return f"QUOTEWATCH_DATA_DIR={str(settings.data_dir)!r}"


def _write_problem(path: Path) -> str | None:
    """Try, because permission bits say little: of a read-only mount, of root, of a full disk."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"?")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _refused(*problems: str) -> SettingsError:
    return SettingsError("\n  ".join(["settings refused:", *problems]))
