{{/* Helpers of all objects. Each takes the run of `phi3k.run`, some with more: (dict "run" $run ...). */}}

{{/* The labels of an object of the run. Input: run, component. */}}
{{- define "phi3k.labels" -}}
app.kubernetes.io/name: phi3k
app.kubernetes.io/instance: {{ .run.name }}
app.kubernetes.io/version: {{ .run.version | toJson }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: phi3k
phi3k/run: {{ .run.name }}
{{- end -}}

{{/* Name, labels and namespace of an object. Input: run, component, and name where it isn't the run's. */}}
{{- define "phi3k.metadata" -}}
name: {{ .name | default .run.name }}
{{- with .run.cluster.namespace }}
namespace: {{ toJson . }}
{{- end }}
labels:
  {{- include "phi3k.labels" . | nindent 2 }}
  helm.sh/chart: {{ .run.chart }}
{{- end -}}

{{/* The same of a job: its recipe, its W&B run and its queue are told too. */}}
{{- define "phi3k.job-metadata" -}}
{{- include "phi3k.metadata" (dict "run" . "component" "job") }}
{{- range $name, $value := .cluster.pod.labels }}
  {{ toJson $name }}: {{ toJson $value }}
{{- end }}
{{- with .cluster.queue }}
  kueue.x-k8s.io/queue-name: {{ toJson . }}
{{- with $.cluster.queue_priority }}
  kueue.x-k8s.io/priority-class: {{ toJson . }}
{{- end }}
{{- end }}
annotations:
  {{- range $name, $value := .cluster.pod.annotations }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
  phi3k/recipe-sha256: {{ .digest }}
  {{- with .wandbRunId }}
  phi3k/wandb-run: {{ toJson . }}
  {{- end }}
{{- end -}}

{{/* The labels that pick out the trainer's pods. */}}
{{- define "phi3k.selector" -}}
phi3k/run: {{ .name }}
app.kubernetes.io/component: trainer
{{- end -}}

{{/* The web's ports and those of the addresses the recipe names (a W&B server, a mirror, a proxy), as JSON. */}}
{{- define "phi3k.web-ports" -}}
{{- $rules := .rules -}}
{{- $ports := $rules.web_ports -}}
{{- $ports = concat $ports (include "phi3k.ports" (dict "rules" $rules "name" "WANDB_BASE_URL" "value" .wandbAddress) | fromJsonArray) -}}
{{- range $name, $value := .cluster.env -}}
  {{- $ports = concat $ports (include "phi3k.ports" (dict "rules" $rules "name" $name "value" $value) | fromJsonArray) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* The ports of the address, or of the comma-separated addresses, in a variable, as JSON. Input: rules, name, value. */}}
{{- define "phi3k.ports" -}}
{{- $rules := .rules -}}
{{- $isProxy := regexMatch $rules.proxy_name .name -}}
{{- $ports := list -}}
{{- $parts := list -}}
{{- $isAddress := true -}}
{{- range splitList "," .value -}}
  {{- $part := trimAll " " . -}}
  {{- $parts = append $parts $part -}}
  {{- $isAddress = and $isAddress (regexMatch $rules.address $part) -}}
{{- end -}}
{{- if eq (upper .name) "NO_PROXY" -}}
{{- else if $isAddress -}}
  {{- range $parts -}}
    {{- $port := regexReplaceAll $rules.address . "${4}" -}}
    {{- if $port -}}
      {{- $ports = append $ports (atoi $port) -}}
    {{- else if hasPrefix "socks" (lower .) -}}
      {{- $ports = append $ports (int $rules.socks_port) -}}
    {{- end -}}
  {{- end -}}
{{- else if regexMatch $rules.host_and_port .value -}}
  {{- $port := regexReplaceAll $rules.host_and_port .value "${2}" | atoi -}}
  {{- $host := regexReplaceAll $rules.host_and_port .value "${1}" -}}
  {{- if or $isProxy (and (contains "." $host) (le $port 65535)) -}}
    {{- $ports = append $ports $port -}}
  {{- end -}}
{{- end -}}
{{- range $ports -}}
  {{- if or (lt . 1) (gt . 65535) -}}
    {{- fail (printf "%s has an address with a port that is not between 1 and 65535" $.name) -}}
  {{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* Where an entry of cluster.egress leads. Input: its `to`. */}}
{{- define "phi3k.destination" -}}
{{- if or (contains ":" .) (regexMatch "^[0-9]" .) -}}
ipBlock:
  cidr: {{ contains "/" . | ternary . (printf "%s/%d" . (contains ":" . | ternary 128 32)) | toJson }}
{{- else -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ index (splitList "." .) 1 | toJson }}
{{- end -}}
{{- end -}}

{{/* The spec of a claim. Input: cluster.cache or cluster.runs. */}}
{{- define "phi3k.claim-spec" -}}
accessModes: {{ toJson .access_modes }}
resources:
  requests:
    storage: {{ toJson .size }}
{{- if not (kindIs "invalid" .storage_class) }}
storageClassName: {{ toJson .storage_class }}
{{- end }}
{{- end -}}

{{/*
A claim, shared by runs and kept for ever. One that is there stays as it is: this release's own is repeated as found, so
that it neither changes nor leaves the release; anyone else's is left out. Input: root, run, section.
*/}}
{{- define "phi3k.claim" -}}
{{- $existing := lookup "v1" "PersistentVolumeClaim" .root.Release.Namespace .section.claim -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $existing -}}
{{- if or (not $existing) (eq $owner .root.Release.Name) -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ toJson .section.claim }}
  {{- with .run.cluster.namespace }}
  namespace: {{ toJson . }}
  {{- end }}
  labels:
    app.kubernetes.io/name: phi3k
    app.kubernetes.io/managed-by: phi3k
    helm.sh/chart: {{ .run.chart }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  {{- if $existing }}
  {{- $fields := list "accessModes" "resources" }}
  {{- if or (not (kindIs "invalid" .section.storage_class)) (include "phi3k.applied-storage-class" $existing) }}
  {{- $fields = append $fields "storageClassName" }}
  {{- end }}
  {{- range $fields }}
  {{ . }}: {{ get $existing.spec . | toJson }}
  {{- end }}
  {{- else }}
  {{- include "phi3k.claim-spec" .section | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
Not empty if the claim's class was applied. A default class came from the cluster: repeating it would make it Helm's, and
a rollback to before that would try to take it away.
*/}}
{{- define "phi3k.applied-storage-class" -}}
{{- range .metadata.managedFields -}}
  {{- if and (eq .operation "Apply") (hasKey (dig "fieldsV1" "f:spec" dict .) "f:storageClassName") -}}
true
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
Fails where an upgrade would change a run under way: half its pods would follow the old recipe, half the new, or two jobs
of different kinds write one run. Input: root, run, live (the job there is) and arguments (those of its trainer).
*/}}
{{- define "phi3k.refuse-change" -}}
{{- $way := printf "`helm uninstall %s` and install it again (its checkpoints stay, it continues from the last), or install under another name" .run.name -}}
{{- if .live -}}
  {{- $digest := dig "metadata" "annotations" "phi3k/recipe-sha256" "" .live -}}
  {{- if or (ne $digest .run.digest) (ne (toJson .arguments) (toJson .run.arguments)) -}}
    {{- fail (printf "the run %s is there with another recipe or other values, and a running job can't be changed: %s" .run.name $way) -}}
  {{- end -}}
{{- end -}}
{{- range $kind, $of := dict "PyTorchJob" "kubeflow.org/v1" "TrainJob" "trainer.kubeflow.org/v1alpha1" "Job" "batch/v1" -}}
  {{- if and (ne (lower $kind) $.run.kind) ($.root.Capabilities.APIVersions.Has (printf "%s/%s" $of $kind)) -}}
    {{- if lookup $of $kind $.root.Release.Namespace $.run.name -}}
      {{- fail (printf "the run %s is there as a %s, and a running job can't be changed: %s" $.run.name $kind $way) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
