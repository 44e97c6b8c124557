"""Where the packages are; all else is in pyproject.toml.

app/, kernels/src/ and data/sample/ lie at the top level of the repository and are parts of the package
nerf_insert: a top-level package `kernels` would shadow Hugging Face's, which diffusers looks for.
"""

from setuptools import find_packages, setup

FOLDERS = {"nerf_insert": "nerf_insert", "nerf_insert.app": "app", "nerf_insert.kernels": "kernels/src"}
SAMPLE = {"nerf_insert.data.sample": "data/sample"}

packages = [*FOLDERS, *SAMPLE]
for package, folder in FOLDERS.items():
    packages += [f"{package}.{below}" for below in find_packages(folder)]

setup(
    packages=packages,
    package_dir={**FOLDERS, **SAMPLE},
    package_data={
        "nerf_insert.app": ["page.css"],
        "nerf_insert.app.widgets": ["*.html", "*.css", "*.js"],
        "nerf_insert.export": ["viewer/*"],
        "nerf_insert.data.sample": ["**/*"],
        "nerf_insert.reconstruction": ["report.html"],
    },
)
