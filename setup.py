"""Build of mindvit; all package metadata stand here."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
SERVE = ["fastapi", "uvicorn", "python-multipart>=0.0.18"]
DEMO = [*SERVE, "gradio>=6"]
EXPORT, OPENVINO = ["onnx", "onnxruntime"], ["onnx", "openvino"]
DOCS = ["mkdocs-material", "mkdocstrings[python]", "mkdocs-static-i18n", "ruff",  # ruff breaks long signatures
        "pymdown-extensions<12; python_version < '3.11'"]  # with 12 the last mkdocstrings for 3.10 fails

setup(
    name="mindvit",
    version=re.search('__version__ = "(.*)"', (HERE / "mindvit/__init__.py").read_text(encoding="utf-8"))[1],
    description="The Vision Transformer of the MindSpore Vision suite on today's MindSpore",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["mindvit", "mindvit.*"]),
    package_data={"mindvit": ["digits.ckpt", "imagenet1k_classes.tsv", "recipes/*.yaml", "py.typed"],
                  "mindvit.data": ["digits.npz"],
                  "mindvit.inference": ["report.html"],
                  "mindvit.serving": ["page.html"],
                  "mindvit.checkpoints.libraries": ["timm_preparation.tsv"]},
    install_requires=[
        "mindspore>=2.7",
        "numpy<2",  # with numpy 2 MindSpore's PyNative kernels fail: "numpy.core.multiarray failed to import"
        "scipy",  # reads the ImageNet devkit's meta.mat
        "pillow>=10.1",
        "download>=0.3.5",
        "jsonargparse[signatures]>=4.49",
        "safetensors",
        "matplotlib",
        "filelock",
        "tqdm",
    ],
    extras_require={
        "serve": SERVE,
        "demo": DEMO,
        "export": EXPORT,
        "openvino": OPENVINO,
        "test": [*DEMO, *DOCS, *EXPORT, *OPENVINO, "pytest", "pytest-xdist", "hypothesis", "scikit-learn",
                 "scikit-image", "mypy", "playwright", "nbclient", "nbformat", "ipykernel",
                 "ckpt-chaos==0.1.8", "setuptools"],
        "docs": DOCS,  # the site: mkdocs serve
        "fuzz": ["atheris"],  # see tests/fuzz/README.md
        # other libraries' models, for the tests marked `libraries`
        "libraries": ["transformers", "torch==2.13.0", "vit-pytorch"],
    },
    entry_points={"console_scripts": ["mindvit=mindvit.cli:main"]},
)
