{{/* Helpers of all objects. Each takes the run of `phi3k.run`, some with more: (dict "run" $run ...). */}}

{{/* The labels of an object of the run. Input: run, component. */}}
{{- define "phi3k.labels" -}}
{{- $label := .run.facts.labels -}}
{{ toYaml $label.shared }}
{{ $label.instance }}: {{ .run.name }}
{{ $label.version }}: {{ .run.version | toJson }}
{{ $label.component }}: {{ .component }}
{{ $label.run }}: {{ .run.name }}
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
{{- $label := .facts.labels -}}
{{- include "phi3k.metadata" (dict "run" . "component" "job") }}
{{- range $name, $value := .cluster.pod.labels }}
  {{ toJson $name }}: {{ toJson $value }}
{{- end }}
{{- with .cluster.queue }}
  {{ $label.queue }}: {{ toJson . }}
{{- with $.cluster.queue_priority }}
  {{ $label.queue_priority }}: {{ toJson . }}
{{- end }}
{{- end }}
annotations:
  {{- range $name, $value := .cluster.pod.annotations }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
  {{ $label.recipe_annotation }}: {{ .digest }}
  {{- with .wandbRunId }}
  {{ $label.wandb_annotation }}: {{ toJson . }}
  {{- end }}
{{- end -}}

{{/* The labels that pick out the trainer's pods. */}}
{{- define "phi3k.selector" -}}
{{ .facts.labels.run }}: {{ .name }}
{{ .facts.labels.component }}: trainer
{{- end -}}

{{/* The web's ports and those of the addresses the recipe names (a W&B server, a mirror, a proxy), as JSON. */}}
{{- define "phi3k.web-ports" -}}
{{- $facts := .facts -}}
{{- $ports := $facts.network.web_ports -}}
{{- $tracker := dict "facts" $facts "name" $facts.variables.wandb_address "value" .wandbAddress -}}
{{- $ports = concat $ports (include "phi3k.ports" $tracker | fromJsonArray) -}}
{{- range $name, $value := .cluster.env -}}
  {{- $ports = concat $ports (include "phi3k.ports" (dict "facts" $facts "name" $name "value" $value) | fromJsonArray) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* The ports of the address, or of the comma-separated addresses, in a variable, as JSON. Input: facts, name, value. */}}
{{- define "phi3k.ports" -}}
{{- $network := .facts.network -}}
{{- $isProxy := regexMatch .facts.variables.proxy_name .name -}}
{{- $highest := int $network.highest_port -}}
{{- $ports := list -}}
{{- $parts := list -}}
{{- $isAddress := true -}}
{{- range splitList "," .value -}}
  {{- $part := trimAll " " . -}}
  {{- $parts = append $parts $part -}}
  {{- $isAddress = and $isAddress (regexMatch $network.address $part) -}}
{{- end -}}
{{- if eq (upper .name) .facts.variables.no_proxy -}}
{{- else if $isAddress -}}
  {{- range $parts -}}
    {{- $port := regexReplaceAll $network.address . "${4}" -}}
    {{- if $port -}}
      {{- $ports = append $ports (atoi $port) -}}
    {{- else if hasPrefix "socks" (lower .) -}}
      {{- $ports = append $ports (int $network.socks_port) -}}
    {{- end -}}
  {{- end -}}
{{- else if regexMatch $network.host_and_port .value -}}
  {{- $port := regexReplaceAll $network.host_and_port .value "${2}" | atoi -}}
  {{- $host := regexReplaceAll $network.host_and_port .value "${1}" -}}
  {{- if or $isProxy (and (contains "." $host) (le $port $highest)) -}}
    {{- $ports = append $ports $port -}}
  {{- end -}}
{{- end -}}
{{- range $ports -}}
  {{- if or (lt . 1) (gt . $highest) -}}
    {{- fail (printf "%s has an address with a port that is not between 1 and %d" $.name $highest) -}}
  {{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* Where an entry of cluster.egress leads. Input: to (of the entry), label (of namespaces). */}}
{{- define "phi3k.destination" -}}
{{- if or (contains ":" .to) (regexMatch "^[0-9]" .to) -}}
ipBlock:
  cidr: {{ contains "/" .to | ternary .to (printf "%s/%d" .to (contains ":" .to | ternary 128 32)) | toJson }}
{{- else -}}
namespaceSelector:
  matchLabels:
    {{ .label }}: {{ index (splitList "." .to) 1 | toJson }}
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
    {{- toYaml .run.facts.labels.shared | nindent 4 }}
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
  {{- $digest := dig "metadata" "annotations" .run.facts.labels.recipe_annotation "" .live -}}
  {{- if or (ne $digest .run.digest) (ne (toJson .arguments) (toJson .run.arguments)) -}}
    {{- fail (printf "the run %s is there with another recipe or other values, and a running job can't be changed: %s" .run.name $way) -}}
  {{- end -}}
{{- end -}}
{{- range .run.facts.kinds -}}
  {{- if and (ne .name $.run.kind) ($.root.Capabilities.APIVersions.Has (printf "%s/%s" .apiVersion .kind)) -}}
    {{- $other := lookup .apiVersion .kind $.root.Release.Namespace $.run.name -}}
    {{- /* An operator may make it of the run itself, as of a TrainJob a JobSet of the same name. */ -}}
    {{- $isPart := false -}}
    {{- range dig "metadata" "ownerReferences" list $other -}}
      {{- $isPart = or $isPart (eq .name $.run.name) -}}
    {{- end -}}
    {{- if and $other (not $isPart) -}}
      {{- fail (printf "the run %s is there as a %s, and a running job can't be changed: %s" $.run.name .kind $way) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
