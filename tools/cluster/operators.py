"""The operators: published manifests, rendered once, and an image of the binary built from the same pin."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import images
from .errors import ClusterError
from .images import StaticImage
from .sandbox import run
from .tools import KUEUE, OPERATORS_AND_KWOK, GoTool, build, cache_entry, module_directory

KUSTOMIZATIONS = Path(__file__).with_name("manifests")


@dataclass(frozen=True)
class Operator:
    """One operator; `manifests` is a directory of its module, `omitted` a resource there that needs the internet."""

    tool: GoTool
    module: str
    manifests: str
    binary: str
    kustomizations: tuple[str, ...]
    omitted: str | None = None


# Kueue is last: its webhook for pods stands in the way of every pod outside its own namespace until it runs.
OPERATORS = (
    Operator(
        OPERATORS_AND_KWOK,
        "github.com/kubeflow/training-operator",
        "manifests",
        "training-operator.v1",
        ("training-operator",),
    ),
    Operator(OPERATORS_AND_KWOK, "sigs.k8s.io/jobset", "config", "jobset", ("jobset",)),
    Operator(
        OPERATORS_AND_KWOK,
        "github.com/kubeflow/trainer/v2",
        "manifests",
        "trainer-controller-manager",
        ("trainer", "runtimes"),
        omitted="third-party/jobset",
    ),
    Operator(KUEUE, "sigs.k8s.io/kueue", "config", "kueue", ("kueue",)),
)


@dataclass(frozen=True)
class PreparedOperator:
    """An operator's rendered manifests, by the name of their kustomization, its image, its Deployment's API path."""

    manifests: dict[str, Path]
    image: Path
    deployment: str


def prepare(operator: Operator, kubectl: Path) -> PreparedOperator:
    """Render and pack, or find both in the cache."""
    binary = build(operator.tool) / operator.binary
    inputs = [KUSTOMIZATIONS / f"{name}.yaml" for name in operator.kustomizations]
    # The product depends on how it is made, so the code counts as an input.
    inputs += [Path(__file__), Path(images.__file__)]
    texts = [file.read_text() for file in inputs]
    with cache_entry(f"{operator.binary}-pod", binary.parent.name, *texts) as (entry, scratch):
        if scratch is not None:
            for name in operator.kustomizations:
                (scratch / f"{name}.yaml").write_text(render(operator, name, kubectl, scratch / "work"))
            _, _, image = deployment_of(scratch / f"{operator.kustomizations[0]}.yaml")
            StaticImage(image, binary, "/manager", ("/manager",)).write(scratch / "image.tar")
    namespace, deployment, _ = deployment_of(entry / f"{operator.kustomizations[0]}.yaml")
    manifests = {name: entry / f"{name}.yaml" for name in operator.kustomizations}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
    return PreparedOperator(manifests, entry / "image.tar", path)


def render(operator: Operator, kustomization: str, kubectl: Path, work: Path) -> str:
    """The YAML of a kustomization over a copy of the module's manifests."""
    shutil.copytree(module_directory(operator.tool, operator.module) / operator.manifests, work / "upstream")
    # The module cache is read-only, and so is what was copied from it.
    run(["chmod", "--recursive", "u+w", str(work)])
    if operator.omitted is not None:
        omit(work / "upstream", operator.omitted)
    shutil.copy(KUSTOMIZATIONS / f"{kustomization}.yaml", work / "kustomization.yaml")
    rendered = run([str(kubectl), "kustomize", str(work)])
    shutil.rmtree(work)
    return rendered


def omit(directory: Path, resource: str) -> None:
    """Delete the one line of `overlays/manager/kustomization.yaml` that names `resource`."""
    file = directory / "overlays" / "manager" / "kustomization.yaml"
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if resource not in line]
    if len(kept) != len(lines) - 1:
        raise ClusterError(f"{file} doesn't name {resource} once: look at what this version needs")
    file.write_text("".join(kept))


def deployment_of(manifest: Path) -> tuple[str, str, str]:
    """Namespace, name and image of the only Deployment in a manifest."""
    documents = yaml.load_all(manifest.read_text(), Loader=yaml.CSafeLoader)
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    metadata, pod = deployment["metadata"], deployment["spec"]["template"]["spec"]
    return metadata["namespace"], metadata["name"], pod["containers"][0]["image"]
