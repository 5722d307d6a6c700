"""Find what an earlier run left: a directory or the environment in, settings out.

Looking makes nothing: opening a SQLite catalog would make its file.
"""

from pathlib import Path

from quotewatch.errors import SettingsError
from quotewatch.settings import Settings, load_settings


def settings_of_run(data: Path | None) -> Settings:
    """Return the settings of a run that has tables; `data` replaces the environment's directory."""
    settings = load_settings() if data is None else load_settings(data_dir=data)
    path = settings.data_dir / "catalog.db"
    if settings.catalog or path.is_file():
        return settings
    others = sorted(path.parent.glob("*/catalog.db"), key=lambda each: each.stat().st_mtime)
    hint = f"; the newest run below it: --data {others[-1].parent}" if others else ""
    raise SettingsError(
        f"no tables at {path.parent}: name the data directory of a run with --data{hint}"
    )
