"""The objects around a job: the recipe, claims, the account, who may talk to whom. Pure functions of the recipe."""

import re

from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import RUN_LABEL, labels, selector
from phi3k_jobs.pod import METRICS_PORT, METRICS_PORT_NAME
from phi3k_jobs.shape import num_nodes
from phi3k_trainer.recipe import Recipe, dump_recipe, recipe_sha256
from phi3k_trainer.recipe.cluster import ClaimSection

RENDEZVOUS_PORT = 23456
WEB_PORTS = (443, 80)
_ADDRESS_WITH_PORT = re.compile("https?://[^/]*:([0-9]{1,5})(/.*)?")


def config_map_name(recipe: Recipe) -> str:
    """Return the name of the recipe's ConfigMap: another text has another name, so it can be immutable."""
    return f"{recipe.name}-recipe-{recipe_sha256(recipe)[:10]}"


def config_map(recipe: Recipe) -> Manifest:
    """Return the immutable ConfigMap with the recipe in force."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(recipe), "labels": labels(recipe, "recipe")},
        "immutable": True,
        "data": {"recipe.yaml": dump_recipe(recipe)},
    }


def claims(recipe: Recipe) -> list[Manifest]:
    """Return the claims that submit creates where they are missing; runs share them, so they carry no run's label."""
    sections = {section.claim: section for section in (recipe.cluster.cache, recipe.cluster.runs) if section.create}
    return [claim(section) for section in sections.values()]


def claim(section: ClaimSection) -> Manifest:
    """Return a claim; runs share it, so it carries no run's label."""
    spec: Manifest = {
        "accessModes": list(section.access_modes),
        "resources": {"requests": {"storage": section.size}},
    }
    if section.storage_class is not None:
        spec["storageClassName"] = section.storage_class
    shared = {"app.kubernetes.io/name": "phi3k", "app.kubernetes.io/managed-by": "phi3k"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": section.claim, "labels": shared},
        "spec": spec,
    }


def service_account(recipe: Recipe) -> Manifest:
    """Return the trainer's account: it has no rights and no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "automountServiceAccountToken": False,
    }


def network_policy(recipe: Recipe) -> Manifest:
    """Return the policy: in come the peers, and anyone to metrics; out go the peers, DNS and the web (W&B, the hub)."""
    peers = [{"podSelector": {"matchLabels": selector(recipe)}}]
    ingress: list[Manifest] = [{"from": peers}]
    if recipe.cluster.pod_monitor:
        ingress.append({"ports": [{"protocol": "TCP", "port": METRICS_PORT}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "network")},
        "spec": {
            "podSelector": {"matchLabels": selector(recipe)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [
                {"to": peers},
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                {"ports": [{"protocol": "TCP", "port": port} for port in web_ports(recipe)]},
            ],
        },
    }


def web_ports(recipe: Recipe) -> list[int]:
    """Return the web's TCP ports and those of the addresses the recipe names: a W&B server, a mirror, a proxy."""
    environment = [address for _, address in sorted(recipe.cluster.env.items())]
    found = map(_ADDRESS_WITH_PORT.fullmatch, [recipe.tracking.wandb.base_url or "", *environment])
    return list(dict.fromkeys([*WEB_PORTS, *(int(match[1]) for match in found if match)]))


def headless_service(recipe: Recipe) -> Manifest:
    """Return the Service that gives the pods of an Indexed Job their DNS names, before they are ready too."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "network")},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(recipe),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def disruption_budget(recipe: Recipe) -> Manifest:
    """Return the budget that lets no replica be evicted voluntarily."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "spec": {"minAvailable": num_nodes(recipe.cluster), "selector": {"matchLabels": selector(recipe)}},
    }


def pod_monitor(recipe: Recipe) -> Manifest:
    """Return the PodMonitor by which the Prometheus operator finds the metrics of every replica."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "spec": {
            "selector": {"matchLabels": selector(recipe)},
            "podTargetLabels": [RUN_LABEL],
            "podMetricsEndpoints": [{"port": METRICS_PORT_NAME}],
        },
    }
