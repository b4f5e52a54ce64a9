"""Lists the packages: `src/` is `october`, and `conf/` and `experiments/` travel inside it.

Everything else about the build stands in pyproject.toml.
"""

from setuptools import find_packages, setup

packages = ["october", "october.conf", "october.experiments"]
for package, folder in (("october", "src"), ("october.experiments", "experiments")):
    packages += [f"{package}.{name}" for name in find_packages(folder)]

setup(packages=packages)
