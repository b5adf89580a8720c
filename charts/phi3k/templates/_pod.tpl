{{/* The trainer's pod, shared by all kinds of job. Each helper takes the run of `phi3k.run`. */}}

{{- define "phi3k.pod-metadata" -}}
{{- $ownKey := .facts.pod.own_key }}
{{- $label := .facts.labels }}
{{- range $name, $_ := merge (dict) .cluster.pod.labels .cluster.pod.annotations }}
{{- if regexMatch $ownKey $name }}
{{- fail (printf "pod can't set %s: phi3k sets it itself" $name) }}
{{- end }}
{{- end }}
labels:
  {{- include "phi3k.labels" (dict "run" . "component" "trainer") | nindent 2 }}
  {{- range $name, $value := merge (dict) .cluster.pod.labels $label.no_sidecar }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
annotations:
  {{- range $name, $value := merge (dict) .cluster.pod.annotations $label.no_sidecar_annotations }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
  {{- with .wandbRunId }}
  {{ $label.wandb_annotation }}: {{ toJson . }}
  {{- end }}
{{- end -}}

{{/*
Metadata and spec of the trainer's pods, the overlay included. Input: run, container (YAML), fixed (more of the spec,
YAML).
*/}}
{{- define "phi3k.pod-template" -}}
{{- $template := include "phi3k.bare-pod-template" . -}}
{{- if .run.cluster.overlay -}}
{{- include "phi3k.overlaid" (dict "run" .run "template" $template "overlay" .run.cluster.overlay) -}}
{{- else -}}
{{- $template -}}
{{- end -}}
{{- end -}}

{{- define "phi3k.bare-pod-template" -}}
metadata:
  {{- include "phi3k.pod-metadata" .run | nindent 2 }}
spec:
  {{- include "phi3k.pod-spec" (dict "run" .run "container" .container) | nindent 2 }}
  {{- with .fixed }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The spec around one container. Input: run, container (YAML). */}}
{{- define "phi3k.pod-spec" -}}
serviceAccountName: {{ .run.cluster.pod.service_account | default .run.name }}
{{ toYaml .run.facts.pod.spec }}
securityContext:
  {{- include "phi3k.pod-security" .run | nindent 2 }}
terminationGracePeriodSeconds: {{ toJson .run.seconds.grace }}
containers:
  - {{ .container | indent 4 | trim }}
volumes:
  {{- include "phi3k.volumes" .run | nindent 2 }}
{{- with .run.cluster.pod.resource_claims }}
resourceClaims:
  {{- range . }}
  {{- if eq (kindIs "invalid" .claim) (kindIs "invalid" .template) }}
  {{- fail "each entry of pod.resource_claims should name either a claim or a template" }}
  {{- end }}
  - name: {{ toJson .name }}
    {{- if kindIs "invalid" .claim }}
    resourceClaimTemplateName: {{ toJson .template }}
    {{- else }}
    resourceClaimName: {{ toJson .claim }}
    {{- end }}
  {{- end }}
{{- end }}
{{- include "phi3k.placement" .run }}
{{- end -}}

{{/*
The pods that are made by a Job, however it came to be, and what their failures mean: an evicted pod costs no retry, a
permanent error (sysexits) fails the job at once. Input: run, container (its name), rendezvous and subdomain, or neither.
*/}}
{{- define "phi3k.job-spec" -}}
# One replica's failure makes its peers fail with it, and each counts.
backoffLimit: {{ mul .run.cluster.retries .run.nodes }}
{{- with .run.seconds.deadline }}
activeDeadlineSeconds: {{ toJson . }}
{{- end }}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
    - action: FailJob
      onExitCodes:
        containerName: {{ .container }}
        operator: In
        values: {{ toJson .run.facts.permanent_exit_codes }}
template:
  {{- $container := include "phi3k.trainer" (dict "run" .run "name" .container "rendezvous" .rendezvous) }}
  {{- $fixed := "restartPolicy: Never" }}
  {{- with .subdomain }}
  {{- $fixed = printf "%s\nsubdomain: %s" $fixed . }}
  {{- end }}
  {{- include "phi3k.pod-template" (dict "run" .run "container" $container "fixed" $fixed) | nindent 2 }}
{{- end -}}

{{/* What Kubeflow's operators set: torchrun reads variables for its options. Input: run, host (the first replica's). */}}
{{- define "phi3k.rendezvous" -}}
{{- $option := .run.facts.torchrun -}}
- name: {{ $option.nodes }}
  value: {{ .run.nodes | toString | toJson }}
- name: {{ $option.processes }}
  value: {{ .run.processes | toString | toJson }}
- name: {{ $option.master_address }}
  value: {{ .host }}
- {{ toJson $option.master_port }}
- name: {{ $option.node_rank }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $option.node_rank_field }}
{{- end -}}

{{/* Where the pod may run; begins with a new line unless it is empty. */}}
{{- define "phi3k.placement" -}}
{{- with .cluster.node_selector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- if or .cluster.tolerations .gpus }}
tolerations:
  {{- range .cluster.tolerations }}
  - operator: {{ .operator | default "Exists" }}
    {{- range $field, $value := dict "key" .key "value" .value "effect" .effect "tolerationSeconds" .toleration_seconds }}
    {{- if not (kindIs "invalid" $value) }}
    {{ $field }}: {{ toJson $value }}
    {{- end }}
    {{- end }}
  {{- end }}
  {{- if .gpus }}
  # The taint by which clusters keep pods without GPUs off their GPU nodes.
  - key: {{ toJson .cluster.gpu_resource }}
    operator: Exists
  {{- end }}
{{- end }}
{{- if and .cluster.topology .cluster.pod.affinity.podAffinity }}
{{- fail "topology and pod.affinity.podAffinity both decide which nodes the pods share: remove one" }}
{{- end }}
{{- if or .cluster.topology .cluster.pod.affinity }}
affinity:
  {{- range $kind, $terms := .cluster.pod.affinity }}
  {{ toJson $kind }}: {{ toJson $terms }}
  {{- end }}
  {{- if .cluster.topology }}
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - labelSelector:
          matchLabels:
            {{ .facts.labels.run }}: {{ .name }}
        topologyKey: {{ toJson .cluster.topology }}
  {{- end }}
{{- end }}
{{- with .cluster.pod.scheduler }}
schedulerName: {{ toJson . }}
{{- end }}
{{- with .cluster.pod.runtime_class }}
runtimeClassName: {{ toJson . }}
{{- end }}
{{- if .cluster.pod.host_network }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .cluster.priority_class }}
priorityClassName: {{ toJson . }}
{{- end }}
{{- with .cluster.image_pull_secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "phi3k.pod-security" -}}
{{- $pod := .cluster.pod -}}
{{ toYaml .facts.pod.security_context }}
{{- range $field, $value := dict "runAsUser" $pod.user "runAsGroup" $pod.group "fsGroup" $pod.fs_group }}
{{- if not (kindIs "invalid" $value) }}
{{ $field }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" $pod.fs_group) }}
fsGroupChangePolicy: {{ .facts.pod.fs_group_change_policy }}
{{- end }}
{{- with $pod.supplemental_groups }}
supplementalGroups: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* Input: run, and capabilities that are added: none for all but the trainer. */}}
{{- define "phi3k.container-security" -}}
{{- $context := deepCopy .run.facts.container.security_context -}}
{{- with .capabilities -}}
  {{- $_ := set $context.capabilities "add" . -}}
{{- end -}}
{{ toYaml $context }}
{{- end -}}

{{/* The trainer's container. Input: run, name, rendezvous (more environment, YAML). */}}
{{- define "phi3k.trainer" -}}
name: {{ .name }}
image: {{ toJson .run.cluster.image }}
imagePullPolicy: {{ .run.cluster.image_pull_policy }}
command: {{ toJson .run.facts.container.command }}
args: {{ toJson .run.arguments }}
env:
  {{- include "phi3k.environment" .run | trim | nindent 2 }}
  {{- with .rendezvous }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with .run.cluster.pod.env_from }}
envFrom:
  {{- range . }}
  {{- if eq (kindIs "invalid" .secret) (kindIs "invalid" .config_map) }}
  {{- fail "each entry of pod.env_from should name either a secret or a config_map" }}
  {{- end }}
  {{- if not (kindIs "invalid" .secret) }}
  - secretRef: {name: {{ toJson .secret }}}
  {{- else }}
  - configMapRef: {name: {{ toJson .config_map }}}
  {{- end }}
  {{- end }}
{{- end }}
resources:
  {{- include "phi3k.resources" .run | nindent 2 }}
securityContext:
  {{- include "phi3k.container-security" (dict "run" .run "capabilities" .run.cluster.pod.capabilities) | nindent 2 }}
# READY says whether the run moves; no liveness probe, since a slow save must not be killed.
readinessProbe:
  {{- toYaml .run.facts.container.readiness_probe | nindent 2 }}
{{- if .run.cluster.pod_monitor }}
ports:
  - {{ toJson .run.facts.container.metrics_port }}
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "phi3k.volume-mounts" .run | nindent 2 }}
{{- end -}}

{{/* Memory and devices are requested and limited; CPU is limited only where the recipe says so. */}}
{{- define "phi3k.resources" -}}
{{- $own := .cluster.resources -}}
{{- $held := dict "memory" $own.memory "ephemeral-storage" $own.ephemeral_storage -}}
{{- range $name, $quantity := .cluster.pod.extra_resources -}}
  {{- $_ := set $held $name $quantity -}}
{{- end -}}
{{- if .gpus -}}
  {{- $_ := set $held .cluster.gpu_resource (toString .gpus) -}}
{{- end -}}
limits: {{ with $own.cpu_limit }}{{ set (deepCopy $held) "cpu" . | toJson }}{{ else }}{{ toJson $held }}{{ end }}
requests: {{ set (deepCopy $held) "cpu" $own.cpu | toJson }}
{{- with .cluster.pod.resource_claims }}
claims:
  {{- range . }}
  - name: {{ toJson .name }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Every writable path is on a volume; secrets are named, never read. Kubernetes expands $(NAME): $$ keeps it text. */}}
{{- define "phi3k.environment" -}}
{{- $variables := .facts.variables -}}
{{- $timeout := max 1 (sub .seconds.grace $variables.shutdown_margin_seconds) -}}
{{- $set := concat $variables.fixed (list
  (dict "name" $variables.shutdown_timeout "value" (toString $timeout))
  (dict "name" $variables.log_format "value" .cluster.log_format)
  (dict "name" $variables.image "value" .cluster.image)
  $variables.health)
-}}
{{- if .cluster.pod_monitor -}}
  {{- $set = append $set $variables.metrics_port -}}
{{- end -}}
{{- with .seconds.deadline -}}
  {{- $set = append $set (dict "name" $variables.deadline "value" (toJson .)) -}}
{{- end -}}
{{- with .wandbRunId -}}
  {{- $set = append $set (dict "name" $variables.wandb_run "value" .) -}}
{{- end -}}
{{- $own := .cluster.env -}}
{{- $referred := .cluster.pod.env_secrets -}}
{{- include "phi3k.check-variables" . -}}
{{- $names := list -}}
{{- range $set -}}
  {{- $name := .name -}}
  {{- $names = append $names $name }}
{{- if not (hasKey $referred $name) }}
- name: {{ $name }}
  value: {{ hasKey $own $name | ternary (get $own $name) .value | replace "$" "$$" | toJson }}
{{- end }}
{{- end }}
{{- range $name, $value := $own }}
{{- if not (has $name $names) }}
- name: {{ toJson $name }}
  value: {{ $value | replace "$" "$$" | toJson }}
{{- end }}
{{- end }}
{{- range $name, $of := $referred }}
- name: {{ toJson $name }}
  valueFrom:
    secretKeyRef: {name: {{ toJson $of.secret }}, key: {{ toJson $of.key }}}
{{- end }}
{{- range $of := $variables.of_secrets }}
{{- with $secret := get $.cluster .field }}
{{- range $variable := $of.variables }}
- name: {{ $variable.name }}
  valueFrom:
    secretKeyRef: {name: {{ toJson $secret }}, key: {{ $variable.name }}{{ if $variable.optional }}, optional: true{{ end }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fails for a variable that can't have its name, that has to be phi3k's own, or that looks like a secret. */}}
{{- define "phi3k.check-variables" -}}
{{- $facts := .facts -}}
{{- $rules := $facts.variables -}}
{{- $referred := .cluster.pod.env_secrets -}}
{{- range $name, $_ := merge (dict) .cluster.env $referred -}}
  {{- if not (regexMatch $rules.valid_name $name) -}}
    {{- fail (printf "%s can't be the name of a variable: use letters, digits and _" (toJson $name)) -}}
  {{- end -}}
  {{- with get $rules.section_of $name -}}
    {{- fail (printf "env can't set %s: put it into a secret, and name that in %s" $name .) -}}
  {{- end -}}
  {{- if regexMatch $rules.own_name $name -}}
    {{- fail (printf "env can't set %s: phi3k, or the job's operator, sets it itself" $name) -}}
  {{- end -}}
{{- end -}}
{{- if and .cluster.hf_secret (or (hasKey .cluster.env $rules.hub_address) (hasKey $referred $rules.hub_address)) -}}
  {{- fail (printf "can't set %s together with hf_secret: put it into that secret, next to the token" $rules.hub_address) -}}
{{- end -}}
{{- range $name, $value := .cluster.env -}}
  {{- if hasKey $referred $name -}}
    {{- fail (printf "env and pod.env_secrets both set %s: remove one" $name) -}}
  {{- end -}}
  {{- $named := and (regexMatch $rules.secret_name $name) (not (regexMatch $rules.harmless_name $name)) (not (regexMatch $rules.harmless_value $value)) -}}
  {{- $login := and (regexMatch $rules.proxy_name $name) (regexMatch $rules.login_without_scheme $value) -}}
  {{- if or $named $login (regexMatch $rules.secret_value $value) -}}
    {{- fail (printf "env can't set %s: it looks like a secret, and values are stored where many can read them. Put it into a Secret and refer to that: pod.env_secrets.%s: {secret: NAME, key: KEY}" $name $name) -}}
  {{- end -}}
  {{- $_ := include "phi3k.ports" (dict "facts" $facts "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}

{{- define "phi3k.volumes" -}}
- name: recipe
  configMap:
    name: {{ .configMap }}
- name: cache
  persistentVolumeClaim:
    claimName: {{ toJson .cluster.cache.claim }}
- name: runs
  persistentVolumeClaim:
    claimName: {{ toJson .cluster.runs.claim }}
- name: scratch
  emptyDir:
    sizeLimit: {{ toJson .cluster.resources.ephemeral_storage }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ toJson .cluster.resources.shared_memory }}
{{- $seen := list }}
{{- range .cluster.pod.volumes }}
{{- if or (ne (len .source) 1) (has .name $.facts.pod.own_volumes) (regexMatch $.facts.pod.own_path .path) (has .name $seen) (has .path $seen) }}
{{- fail (printf "pod.volumes %s: it should have one source, and a name and path that neither phi3k nor another volume has" .name) }}
{{- end }}
{{- $seen = append $seen .name }}
{{- $seen = append $seen .path }}
- name: {{ toJson .name }}
  {{- range $kind, $source := .source }}
  {{ toJson $kind }}: {{ toJson $source }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "phi3k.volume-mounts" -}}
{{ toYaml .facts.container.volume_mounts }}
{{- range .cluster.pod.volumes }}
- name: {{ toJson .name }}
  mountPath: {{ toJson .path }}
  readOnly: {{ if kindIs "invalid" .read_only }}true{{ else }}{{ .read_only }}{{ end }}
  {{- with .sub_path }}
  subPath: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end -}}
