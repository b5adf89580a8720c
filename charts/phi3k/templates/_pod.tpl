{{/* The trainer's pod, shared by all kinds of job. Each helper takes the run of `phi3k.run`. */}}

{{- define "phi3k.pod-metadata" -}}
{{- $ownKey := .podRules.own_key }}
{{- range $name, $_ := merge (dict) .cluster.pod.labels .cluster.pod.annotations }}
{{- if regexMatch $ownKey $name }}
{{- fail (printf "pod can't set %s: phi3k sets it itself" $name) }}
{{- end }}
{{- end }}
labels:
  {{- include "phi3k.labels" (dict "run" . "component" "trainer") | nindent 2 }}
  {{- range $name, $value := merge (dict) .cluster.pod.labels (dict "sidecar.istio.io/inject" "false") }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
annotations:
  {{- range $name, $value := merge (dict) .cluster.pod.annotations (dict "linkerd.io/inject" "disabled") }}
  {{ toJson $name }}: {{ toJson $value }}
  {{- end }}
  {{- with .wandbRunId }}
  phi3k/wandb-run: {{ toJson . }}
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
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "phi3k.pod-security" .run.cluster.pod | nindent 2 }}
terminationGracePeriodSeconds: {{ include "phi3k.seconds" .run.cluster.grace }}
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
{{- with .run.cluster.deadline }}
activeDeadlineSeconds: {{ include "phi3k.seconds" . }}
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
        values: {{ untilStep 64 79 1 | toJson }}
template:
  {{- $container := include "phi3k.trainer" (dict "run" .run "name" .container "rendezvous" .rendezvous) }}
  {{- $fixed := "restartPolicy: Never" }}
  {{- with .subdomain }}
  {{- $fixed = printf "%s\nsubdomain: %s" $fixed . }}
  {{- end }}
  {{- include "phi3k.pod-template" (dict "run" .run "container" $container "fixed" $fixed) | nindent 2 }}
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
{{- fail "topology and pod.affinity.podAffinity both say where the pods go together: remove one" }}
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
            phi3k/run: {{ .name }}
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
runAsNonRoot: true
{{- range $field, $value := dict "runAsUser" .user "runAsGroup" .group "fsGroup" .fs_group }}
{{- if not (kindIs "invalid" $value) }}
{{ $field }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" .fs_group) }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- with .supplemental_groups }}
supplementalGroups: {{ toJson . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Input: the capabilities that are added, none for all but the trainer. */}}
{{- define "phi3k.container-security" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  {{- with . }}
  add: {{ toJson . }}
  {{- end }}
readOnlyRootFilesystem: true
{{- end -}}

{{/* The trainer's container. Input: run, name, rendezvous (more environment, YAML). */}}
{{- define "phi3k.trainer" -}}
name: {{ .name }}
image: {{ toJson .run.cluster.image }}
imagePullPolicy: {{ .run.cluster.image_pull_policy }}
command: {{ include "phi3k.entrypoint" . }}
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
  {{- include "phi3k.container-security" .run.cluster.pod.capabilities | nindent 2 }}
# READY says whether the run moves; no liveness probe, since a slow save must not be killed.
readinessProbe:
  exec:
    command: ["/opt/phi3k/bin/python", "-I", "-S", "/opt/phi3k/health_check.py", "/tmp/phi3k-health.json"]
  periodSeconds: 10
  timeoutSeconds: 10
{{- if .run.cluster.pod_monitor }}
ports:
  - name: metrics
    containerPort: 9464
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "phi3k.volume-mounts" .run.cluster | nindent 2 }}
{{- end -}}

{{- define "phi3k.entrypoint" -}}
["/opt/phi3k/bin/python", "-m", "phi3k_trainer.replica.entrypoint"]
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
{{- $grace := include "phi3k.seconds" .cluster.grace | int64 -}}
{{- $pairs := list
  (list "HOME" "/tmp")
  (list "TMPDIR" "/tmp")
  (list "USER" "phi3k")
  (list "XDG_CACHE_HOME" "/tmp/.cache")
  (list "HF_HOME" "/cache/huggingface")
  (list "TRITON_CACHE_DIR" "/tmp/triton")
  (list "TORCHINDUCTOR_CACHE_DIR" "/tmp/inductor")
  (list "CUDA_CACHE_PATH" "/tmp/cuda")
  (list "MPLCONFIGDIR" "/tmp/matplotlib")
  (list "WANDB_CACHE_DIR" "/tmp/wandb/cache")
  (list "WANDB_DATA_DIR" "/tmp/wandb/data")
  (list "WANDB_CONFIG_DIR" "/tmp/wandb/config")
  (list "WANDB_ARTIFACT_DIR" "/tmp/wandb/artifacts")
  (list "TORCH_ELASTIC_SHUTDOWN_TIMEOUT" (max 1 (sub $grace 30) | toString))
  (list "PHI3K_LOG_FORMAT" .cluster.log_format)
  (list "PHI3K_IMAGE" .cluster.image)
  (list "PHI3K_HEALTH_FILE" "/tmp/phi3k-health.json")
-}}
{{- if .cluster.pod_monitor -}}
  {{- $pairs = append $pairs (list "PHI3K_METRICS_PORT" "9464") -}}
{{- end -}}
{{- with .cluster.deadline -}}
  {{- $pairs = append $pairs (list "PHI3K_DEADLINE_SECONDS" (include "phi3k.seconds" .)) -}}
{{- end -}}
{{- with .wandbRunId -}}
  {{- $pairs = append $pairs (list "WANDB_RUN_ID" .) -}}
{{- end -}}
{{- $own := .cluster.env -}}
{{- $referred := .cluster.pod.env_secrets -}}
{{- include "phi3k.check-variables" . -}}
{{- $names := list -}}
{{- range $pairs -}}
  {{- $name := index . 0 -}}
  {{- $names = append $names $name }}
{{- if not (hasKey $referred $name) }}
- name: {{ $name }}
  value: {{ hasKey $own $name | ternary (get $own $name) (index . 1) | replace "$" "$$" | toJson }}
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
{{- with .cluster.wandb_secret }}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ toJson . }}, key: WANDB_API_KEY, optional: true}
- name: WANDB_BASE_URL
  valueFrom:
    secretKeyRef: {name: {{ toJson . }}, key: WANDB_BASE_URL, optional: true}
{{- end }}
{{- with .cluster.hf_secret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ toJson . }}, key: HF_TOKEN}
- name: HF_ENDPOINT
  valueFrom:
    secretKeyRef: {name: {{ toJson . }}, key: HF_ENDPOINT, optional: true}
{{- end }}
{{- end -}}

{{/* Fails for a variable that can't have its name, that has to be phi3k's own, or that looks like a secret. */}}
{{- define "phi3k.check-variables" -}}
{{- $rules := .rules -}}
{{- $referred := .cluster.pod.env_secrets -}}
{{- range $name, $_ := merge (dict) .cluster.env $referred -}}
  {{- if not (regexMatch $rules.name $name) -}}
    {{- fail (printf "%s can't be the name of a variable: use letters, digits and _" (toJson $name)) -}}
  {{- end -}}
  {{- with get $rules.section_of $name -}}
    {{- fail (printf "env can't set %s: put it into a secret, and name that in %s" $name .) -}}
  {{- end -}}
  {{- if regexMatch $rules.own_variables $name -}}
    {{- fail (printf "env can't set %s: phi3k, or the job's operator, sets it itself" $name) -}}
  {{- end -}}
{{- end -}}
{{- if and .cluster.hf_secret (or (hasKey .cluster.env "HF_ENDPOINT") (hasKey $referred "HF_ENDPOINT")) -}}
  {{- fail "can't set HF_ENDPOINT beside hf_secret: put it into that secret, beside the token" -}}
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
  {{- $_ := include "phi3k.ports" (dict "rules" $rules "name" $name "value" $value) -}}
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
{{- if or (ne (len .source) 1) (has .name $.podRules.own_volumes) (regexMatch $.podRules.own_path .path) (has .name $seen) (has .path $seen) }}
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
- name: recipe
  mountPath: /etc/phi3k
  readOnly: true
- name: cache
  mountPath: /cache
- name: runs
  mountPath: /runs
- name: scratch
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- range .pod.volumes }}
- name: {{ toJson .name }}
  mountPath: {{ toJson .path }}
  readOnly: {{ if kindIs "invalid" .read_only }}true{{ else }}{{ .read_only }}{{ end }}
  {{- with .sub_path }}
  subPath: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end -}}
