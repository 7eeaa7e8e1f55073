"""setup.cfg has everything but what is said of the project's address, which is here alone."""

import re
from pathlib import Path

from setuptools import setup

# Where the project is published: set it before the first upload. `example.org` belongs to nobody.
REPOSITORY = "https://git.example.org/aionotify"
FILES = f"{REPOSITORY}/blob/main"


def description() -> str:
    """README.rst, with links that lead somewhere from any page: there they are relative."""
    text = Path(__file__).with_name("README.rst").read_text(encoding="utf-8")
    text = re.sub(r"(?<=<)(?![a-z]+:)([\w./-]+)(?=(#[\w-]+)?>`_)", rf"{FILES}/\1", text)
    image = re.compile(r"(?<=^\.\. image:: )(?![a-z]+:)", re.MULTILINE)
    return image.sub(f"{REPOSITORY}/raw/main/", text)


setup(
    project_urls={
        "Source": REPOSITORY,
        "Documentation": f"{FILES}/docs",
        "Changes": f"{FILES}/CHANGES.rst",
        "Issues": f"{REPOSITORY}/issues",
    },
    long_description=description(),
    long_description_content_type="text/x-rst",
)
