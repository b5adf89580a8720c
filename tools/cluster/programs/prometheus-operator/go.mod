module phi3k.test/tools/prometheus-operator

go 1.26.0

// Nothing is built of it: tests read the definition of the PodMonitor.
require github.com/prometheus-operator/prometheus-operator v0.85.0
