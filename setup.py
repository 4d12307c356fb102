"""The metadata is in setup.cfg; this file lets any pip install the project, and puts its tests into its sdist."""
from glob import glob

from setuptools import setup
from setuptools.command.sdist import sdist


class Sdist(sdist):
    def make_distribution(self):
        self.filelist.extend(["CHANGELOG.md", "Makefile", *glob("tests/*.*"),
                              *glob("tests/apps/*.py"), *glob("tests/benchmarks/*.*")])
        super().make_distribution()


setup(cmdclass={"sdist": Sdist})
