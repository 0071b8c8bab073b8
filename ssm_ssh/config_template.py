"""The templates of ``config_templates/``: beside the package in a checkout, inside it in a wheel.

Ground floor: it reads files of this distribution and knows nothing else of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_INSTALLED: Final = Path(__file__).parent / "config_templates"
_CHECKOUT: Final = Path(__file__).parent.parent / "config_templates"


def config_template_names() -> list[str]:
    """The names of all templates, sorted."""
    return sorted(path.name for path in _folder().iterdir() if path.is_file())


def read_config_template(name: str) -> str:
    """The text of one template.

    Raises:
        FileNotFoundError: If there is no template of that name.
    """
    if name not in config_template_names():
        raise FileNotFoundError(f"there is no config template {name!r}")
    return (_folder() / name).read_text(encoding="utf-8")


def _folder() -> Path:
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
