{{/*
The run, as JSON: what every template is made from.
  name, kind, cluster (the section in force), nodes, gpus and processes of a replica, recipe (text), digest, configMap,
  arguments, seconds (of the durations that are set), wandbRunId, wandbAddress, version, chart, facts (files/facts.json,
  which scripts/chart_files.py makes).
In force are phi3k's defaults, over them the recipe's section `cluster`, over that the values given.
*/}}
{{- define "phi3k.run" -}}
{{- $name := .Release.Name -}}
{{- $facts := .Files.Get "files/facts.json" | fromJson -}}
{{- if not (regexMatch $facts.recipe.name $name) -}}
  {{- fail (printf "the release's name %s can't be a run's: use at most %d lower-case letters, digits and -, a letter first" $name (int $facts.recipe.longest_name)) -}}
{{- end -}}
{{- $text := .Values.recipe | default (.Files.Get "files/recipe.yaml") -}}
{{- $recipe := include "phi3k.recipe" (dict "text" $text "version" $facts.recipe.api_version) | fromJson -}}
{{- $schema := .Files.Get "files/cluster.schema.json" | fromJson -}}
{{- $stated := deepCopy $schema.default -}}
{{- include "phi3k.overlay" (dict "into" $stated "from" ($recipe.cluster | default dict)) -}}
{{- include "phi3k.check" (dict "at" "the recipe's cluster" "value" $stated "schema" $schema) -}}
{{- $cluster := deepCopy $stated -}}
{{- $values := dict -}}
{{- range $field, $_ := omit $schema.properties "namespace" -}}
  {{- $_ := set $values $field (index $.Values $field) -}}
{{- end -}}
{{- include "phi3k.overlay" (dict "into" $cluster "from" $values "skipNull" true) -}}
{{- include "phi3k.check" (dict "at" "cluster" "value" $cluster "schema" $schema) -}}
{{- if and $cluster.namespace (ne $cluster.namespace .Release.Namespace) -}}
  {{- fail (printf "the recipe says cluster.namespace %s: install it there with --namespace %s" $cluster.namespace $cluster.namespace) -}}
{{- end -}}
{{- if dig "env" dict ($recipe.cluster | default dict) -}}
  {{- fail "the recipe's cluster.env would stand in a ConfigMap, where many can read it: give it as the value env (`phi3k render --output helm-values` does)" -}}
{{- end -}}
{{- $identity := $text -}}
{{- range $variable, $value := $cluster.env -}}
  {{- $identity = printf "%s%s=%s\n" $identity $variable $value -}}
{{- end -}}
{{- $digest := sha256sum $identity -}}
{{- $seconds := dict -}}
{{- range $field := list "grace" "deadline" "keep_finished" -}}
  {{- with get $cluster $field -}}
    {{- $_ := set $seconds $field (include "phi3k.seconds" (dict "durations" $facts.durations "text" .) | int64) -}}
  {{- end -}}
{{- end -}}
{{- $nodes := include "phi3k.nodes" (merge (dict "part_of_a_gpu" $facts.part_of_a_gpu) $cluster) | int -}}
{{- $gpus := div (int $cluster.gpus) $nodes -}}
{{- dict
  "name" $name
  "kind" (include "phi3k.kind" (dict "kind" $cluster.kind "kinds" $facts.kinds "last" $facts.default_kind "served" .Capabilities.APIVersions))
  "cluster" $cluster
  "nodes" $nodes
  "gpus" $gpus
  "processes" (max 1 $gpus)
  "recipe" $text
  "digest" $digest
  "configMap" (printf "%s-recipe-%s" $name (trunc (int $facts.recipe.digest_digits) $digest))
  "arguments" (include "phi3k.arguments" (dict "fixed" $facts.container.arguments "name" $name "recipe" $recipe "stated" $stated "cluster" $cluster) | fromJsonArray)
  "seconds" $seconds
  "facts" $facts
  "wandbRunId" .Values.wandb_run_id
  "wandbAddress" (dig "wandb" "base_url" "" ($recipe.tracking | default dict) | default "" | toString)
  "version" .Chart.AppVersion
  "chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
  | toJson -}}
{{- end -}}

{{/* The recipe's text as JSON, as far as the chart reads it; the trainer checks the rest. Input: text, version (apiVersion). */}}
{{- define "phi3k.recipe" -}}
{{- $recipe := fromYaml .text -}}
{{- if hasKey $recipe "Error" -}}
  {{- fail (printf "the recipe can't be read: %s. `phi3k recipe check` says what is wrong" $recipe.Error) -}}
{{- end -}}
{{- if ne (toString $recipe.apiVersion) .version -}}
  {{- fail (printf "the recipe should begin with `apiVersion: %s`: is it a recipe? `phi3k recipe check` says what is wrong" .version) -}}
{{- end -}}
{{- range $section := list "cluster" "tracking" -}}
  {{- $found := index $recipe $section -}}
  {{- if not (or (kindIs "map" $found) (kindIs "invalid" $found)) -}}
    {{- fail (printf "the recipe's %s should be a section. `phi3k recipe check` says what is wrong" $section) -}}
  {{- end -}}
{{- end -}}
{{- pick $recipe "name" "cluster" "tracking" | toJson -}}
{{- end -}}

{{/*
The kind of job; `auto` is the best that the cluster has. Input: kind (cluster.kind), kinds, served, and last: the kind
that every cluster has, after which `auto` looks no further.
*/}}
{{- define "phi3k.kind" -}}
{{- $kind := .kind -}}
{{- if eq $kind "auto" -}}
  {{- range .kinds -}}
    {{- $kind = .name -}}
    {{- if or (eq .name $.last) ($.served.Has (printf "%s/%s" .apiVersion .kind)) -}}
      {{- break -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{ $kind }}
{{- end -}}

{{/*
The trainer's arguments, as JSON. What differs from the recipe's text is set, so that the recipe stored beside the run is
the one in force; the values of cluster.env stand in the pod's environment alone. Kubernetes expands $(NAME) in arguments: $$ keeps it text.
*/}}
{{- define "phi3k.arguments" -}}
{{- $stated := .stated -}}
{{- $arguments := .fixed -}}
{{- if ne .name (toString .recipe.name) -}}
  {{- $arguments = concat $arguments (list "--set" (printf "name=%s" .name)) -}}
{{- end -}}
{{- range $field, $value := omit .cluster "env" -}}
  {{- if ne (toJson $value) (toJson (get $stated $field)) -}}
    {{- $arguments = concat $arguments (list "--set" (printf "cluster.%s=%s" $field (toJson $value | replace "$" "$$"))) -}}
  {{- end -}}
{{- end -}}
{{- toJson $arguments -}}
{{- end -}}

{{/* How many replicas the run has. Input: the section cluster, and part_of_a_gpu: the form of such a resource's name. */}}
{{- define "phi3k.nodes" -}}
{{- $gpus := int .gpus -}}
{{- $most := int .gpus_per_node -}}
{{- $nodes := int (.nodes | default 1) -}}
{{- if and $gpus .nodes -}}
  {{- if or (mod $gpus $nodes) (gt (div $gpus $nodes) (int64 $most)) -}}
    {{- fail (printf "gpus is %d, which %d nodes of %d GPUs can't share equally: change nodes, or leave it out" $gpus $nodes $most) -}}
  {{- end -}}
{{- else if gt $gpus $most -}}
  {{- if mod $gpus $most -}}
    {{- fail (printf "gpus is %d, not a multiple of gpus_per_node (%d)" $gpus $most) -}}
  {{- end -}}
  {{- $nodes = div $gpus $most | int -}}
{{- end -}}
{{- if and (gt $gpus $nodes) (regexMatch .part_of_a_gpu .gpu_resource) -}}
  {{- fail (printf "a replica can't train on %d of %s: CUDA gives it one MIG device, and time-sliced devices may be the same GPU. Set gpus_per_node to 1, or ask for whole GPUs" (div $gpus $nodes) .gpu_resource) -}}
{{- end -}}
{{- if gt $nodes 1 -}}
  {{- range $field, $claim := dict "cache" .cache "runs" .runs -}}
    {{- if not (has "ReadWriteMany" $claim.access_modes) -}}
      {{- fail (printf "%d nodes can't share the claim of %s: set %s.access_modes to [ReadWriteMany] with a storage class that offers it, or use one node" $nodes $field $field) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{ $nodes }}
{{- end -}}

{{/* The seconds of a duration such as 12h; Kubernetes counts them in an int32. Input: text, durations (the facts). */}}
{{- define "phi3k.seconds" -}}
{{- $units := .durations.units -}}
{{- $longest := int64 .durations.longest_seconds -}}
{{- $seconds := mul (regexFind "^[0-9]+" .text) (get $units (regexFind "[a-z]$" .text)) -}}
{{- if or (gt (len .text) 11) (gt $seconds $longest) -}}
  {{- $days := div $longest $units.d -}}
  {{- fail (printf "a duration should be at most %dd (%d years), the longest that Kubernetes counts, not %s" $days (div $days 365) .text) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
