"""From a recipe to Kubernetes objects, and the cluster they live in."""
