# The test cluster. Included by the Makefile, which says what VENV and BIN are.
.PHONY: cluster-build cluster-up cluster-down test-cluster bench-cluster

cluster-build: $(VENV)/.installed-dev ## build what the test cluster and the trainer image need into ~/.cache/phi3k-tools
	@command -v go >/dev/null || scripts/install-locked $(BIN)/python requirements-go.lock
	$(BIN)/python -m tools.cluster build

cluster-up: $(VENV)/.installed-dev ## start a Kubernetes cluster with the Kubeflow operators and Kueue here (root on Linux)
	@command -v go >/dev/null || scripts/install-locked $(BIN)/python requirements-go.lock
	$(BIN)/python -m tools.cluster up

cluster-down: $(VENV)/.installed-dev ## stop it and remove everything it made
	$(BIN)/python -m tools.cluster down

# Building comes first and apart: it takes longer than a test may. Two test processes share one cluster, since they
# mostly wait for it; what looks for traces of clusters on this machine runs alone.
test-cluster: cluster-build ## test on a cluster of our own, or on that of PHI3K_TEST_KUBECONFIG
	$(BIN)/python -m tools.cluster test -n 2 --ignore tests/cluster/test_sandbox.py tests/cluster
	$(BIN)/pytest tests/cluster/test_sandbox.py

bench-cluster: cluster-build ## measure list, status and submit among 2,000 runs on 1,000 nodes
	$(BIN)/python bench/cluster_scale.py
