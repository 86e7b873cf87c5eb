"""Which extra of the package brings a module that is not installed.

`pip install captionseg` is inference alone; pyproject.toml lists what else there is.
"""

from __future__ import annotations

EXTRAS = {
    "clip": ("open_clip",),
    "demo": ("fastapi", "nicegui", "starlette", "uvicorn"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "pipeline": (
        "aiohttp",
        "dvc",
        "faiss",
        "filelock",
        "great_expectations",
        "httpx",
        "hydra",
        "jinja2",
        "lightning",
        "lightning_utilities",
        "markupsafe",
        "matplotlib",
        "mlflow",
        "multidict",
        "networkx",
        "pandas",
        "prefect",
        "psutil",
        "pydantic",
        "segment_anything",
        "spacy",
        "transformers",
        "yarl",
    ),
    "ray": ("ray",),
}
"""Extra -> modules that the code imports and inference does without."""


def find_extra(module: str) -> str:
    """Return the extra that brings a module, such as `mlflow.entities`; empty for any other."""
    top = module.partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), "")


def explain_missing(error: ImportError) -> str:
    """Return one line that says what to install; empty if no extra brings the missing module."""
    name = error.name or ""
    extra = find_extra(name)
    return (
        f"{name.partition('.')[0]} is not installed, and inference does without it; for this, run "
        f"`pip install 'captionseg[{extra}]'`"
        if extra
        else ""
    )
