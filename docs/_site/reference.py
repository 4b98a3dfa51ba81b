"""The reference: a page for each public package, made from its docstrings while the site is built."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / ".typing"
# What somebody who writes a task, a rule, a detector, an attack or a tool around runs calls. Command line, servers and
# agents are run, not called; their rooms are in the architecture.
PACKAGES = {
    "skerry": "Records and errors",
    "skerry.config": "Scenarios",
    "skerry.device.tasks": "Tasks",
    "skerry.device.models": "Models",
    "skerry.device.training": "Training",
    "skerry.device.compression": "Compression",
    "skerry.device.evaluation": "Evaluation",
    "skerry.strategies": "Aggregation",
    "skerry.security.privacy": "Privacy",
    "skerry.security.privacy.mechanisms": "Noise",
    "skerry.security.privacy.accounting": "Accounting",
    "skerry.security.anomaly": "Screening",
    "skerry.security.attacks": "Attacks",
    "skerry.security.identity": "Identity",
    "skerry.security.delivery": "Delivery",
    "skerry.security.transparency": "Transparency",
    "skerry.server.engines": "Engines",
}


def modules(package: str) -> list[str]:
    """Modules of one package that have something public, the package itself first if it says more than its name."""
    folder = SOURCE.joinpath(*package.split("."))
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith(("_", "flwr_")))
    return [f"{package}.{name}" for name in names if _public(folder / f"{name}.py")]


def page(package: str) -> str:
    """The Markdown of a package's page."""
    title = PACKAGES[package]
    initial = ast.get_docstring(ast.parse((SOURCE.joinpath(*package.split(".")) / "__init__.py").read_text()))
    sections = "\n\n".join(f"::: {module}" for module in modules(package))
    return f"# {title}: `{package}`\n\n{initial}\n\n{sections}\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The reference is the navigation's last tab."""
    if config.nav is None:
        raise ValueError("mkdocs.yml has no navigation")
    config.nav.append({"Reference": [{PACKAGES[package]: _source(package)} for package in PACKAGES]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for package in PACKAGES:
        files.append(File.generated(config, _source(package), content=page(package)))
    return files


def _source(package: str) -> str:
    return f"reference/{package}.md"


def _public(path: Path) -> bool:
    defined = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, defined) and not node.name.startswith("_") for node in ast.parse(path.read_text()).body)
