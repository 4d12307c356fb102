"""The metadata is in setup.cfg; this file lets any pip install the project, also in editable mode."""
from setuptools import setup

setup()
