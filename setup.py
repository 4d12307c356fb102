"""The metadata is in setup.cfg; this file lets any pip install the project, and puts docs and
tests into its sdist.
"""

from glob import glob

from setuptools import setup
from setuptools.command.sdist import sdist

FILES = ("docs/*.md", "tests/*.*", "tests/apps/*.py", "tests/benchmarks/*.*",
         "tests/payloads/*.json", "tests/payloads/*/*.json")


class Sdist(sdist):
    def make_distribution(self):
        self.filelist.extend(["CHANGELOG.md", "Makefile", "mkdocs.yml"])
        for pattern in FILES:
            self.filelist.extend(glob(pattern))
        super().make_distribution()


setup(cmdclass={"sdist": Sdist})
