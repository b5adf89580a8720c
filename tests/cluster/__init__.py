"""A real Kubernetes cluster on this machine for the tests, in namespaces of its own.

`python -m tools.cluster up` and the `cluster` fixture run the same code: etcd, the control plane, containerd, kubelet,
kube-proxy and CoreDNS as processes, the operators as pods. See `sandbox` for why nothing of it can clash with, or
outlive, anything else.
"""
