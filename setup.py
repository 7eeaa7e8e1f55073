"""Everything is in setup.cfg; this file only lets a build tool find it."""

from setuptools import setup

setup()
