"""How scripts/docs makes a site of these pages, which a forge shows as they are."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "site"), str(HERE.parent)]

from aionotify import __version__  # noqa: E402

project = "aionotify"
release = version = __version__
html_title = f"aionotify {version}"
html_show_copyright = False

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # our docstrings have Args, Returns and Raises
    "sphinx_copybutton",
    "forge",
]
primary_domain = None  # with Python's, `.. class::` is not what a forge takes it for
highlight_language = "none"  # for blocks that do not name theirs
default_role = "code"  # what docstrings and pages have in single backticks is code
exclude_patterns = ["examples", "site"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written: `os.environ`, and not what is in it
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_favicon = "../aionotify/web/static/bell.svg"
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1d5fbf",
        "color-brand-content": "#1d5fbf",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ab8ff",
        "color-brand-content": "#8ab8ff",
    },
}
