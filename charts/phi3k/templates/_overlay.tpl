{{/*
The overlay: a strategic merge patch on the pod template, merged last, as phi3k_jobs/objects/overlay.py merges it.
Input: run, template (YAML), overlay. Fails where it changes what trainer and cluster rely on.
*/}}
{{- define "phi3k.overlaid" -}}
{{- $rules := .run.facts.overlay -}}
{{- $ownVolumes := .run.facts.pod.own_volumes -}}
{{- $original := fromYaml .template -}}
{{- $trainer := first $original.spec.containers -}}
{{- $overlay := deepCopy .overlay -}}
{{- range (dig "spec" "containers" list $overlay) | default list -}}
  {{- if eq (toString .name) $rules.trainer -}}
    {{- $_ := set . "name" $trainer.name -}}
  {{- end -}}
{{- end -}}
{{- $result := deepCopy $original -}}
{{- include "phi3k.patch" (dict "into" $result "from" $overlay "keys" $rules.merge_keys) -}}
{{- $before := include "phi3k.agreed" (dict "template" $original "original" $original "rules" $rules "ownVolumes" $ownVolumes) | fromJson -}}
{{- $after := include "phi3k.agreed" (dict "template" $result "original" $original "rules" $rules "ownVolumes" $ownVolumes) | fromJson -}}
{{- range $place := concat (keys $before) (keys $after) | uniq | sortAlpha -}}
  {{- if ne (toJson (get $before $place)) (toJson (get $after $place)) -}}
    {{- fail (printf "overlay changes %s, which phi3k and the trainer rely on: leave it out" $place) -}}
  {{- end -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{/* Merges .from into the mapping .into. Lists in .keys are merged by the key of their entries, others are replaced. */}}
{{- define "phi3k.patch" -}}
{{- $into := .into -}}
{{- $keys := .keys -}}
{{- if eq (toString (get .from "$patch")) "replace" -}}
  {{- range $name := keys $into -}}
    {{- $_ := unset $into $name -}}
  {{- end -}}
{{- end -}}
{{- range $name, $value := omit .from "$patch" -}}
  {{- if kindIs "invalid" $value -}}
    {{- $_ := unset $into $name -}}
  {{- else if kindIs "map" $value -}}
    {{- if not (kindIs "map" (get $into $name)) -}}
      {{- $_ := set $into $name dict -}}
    {{- end -}}
    {{- include "phi3k.patch" (dict "into" (get $into $name) "from" $value "keys" $keys) -}}
  {{- else if and (kindIs "slice" $value) (hasKey $keys $name) -}}
    {{- $merged := hasKey $into $name | ternary (get $into $name) list -}}
    {{- range $entry := $value -}}
      {{- $merged = include "phi3k.patched-list" (dict "list" $merged "entry" $entry "key" (get $keys $name) "keys" $keys) | fromJsonArray -}}
    {{- end -}}
    {{- $_ := set $into $name $merged -}}
  {{- else -}}
    {{- $_ := set $into $name $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* A list with one entry merged into it by its key, as JSON. Input: list, entry, key, keys. */}}
{{- define "phi3k.patched-list" -}}
{{- $key := .key -}}
{{- $entry := .entry -}}
{{- $keys := .keys -}}
{{- if not (and (kindIs "map" $entry) (hasKey $entry $key)) -}}
  {{- fail (printf "overlay: each entry of a list that is merged by %s needs %s" $key $key) -}}
{{- end -}}
{{- $isDeleted := eq (toString (get $entry "$patch")) "delete" -}}
{{- $merged := list -}}
{{- $isThere := false -}}
{{- range $other := .list -}}
  {{- if and (not $isThere) (eq (toJson (get $other $key)) (toJson (get $entry $key))) -}}
    {{- $isThere = true -}}
    {{- if not $isDeleted -}}
      {{- $copy := deepCopy $other -}}
      {{- include "phi3k.patch" (dict "into" $copy "from" $entry "keys" $keys) -}}
      {{- $merged = append $merged $copy -}}
    {{- end -}}
  {{- else -}}
    {{- $merged = append $merged $other -}}
  {{- end -}}
{{- end -}}
{{- if not (or $isThere $isDeleted) -}}
  {{- $new := dict -}}
  {{- include "phi3k.patch" (dict "into" $new "from" $entry "keys" $keys) -}}
  {{- $merged = append $merged $new -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* What of .template trainer and cluster rely on, by place, as JSON; .original names what is phi3k's own. */}}
{{- define "phi3k.agreed" -}}
{{- $found := dict -}}
{{- $spec := .template.spec -}}
{{- $labels := dig "metadata" "labels" dict .template -}}
{{- range .rules.agreed_labels -}}
  {{- $_ := set $found (printf "metadata.labels.%s" .) (dig . nil $labels) -}}
{{- end -}}
{{- range .rules.agreed_spec -}}
  {{- $_ := set $found (printf "spec.%s" .) (dig . nil $spec) -}}
{{- end -}}
{{- $volumes := include "phi3k.by" (dict "list" $spec.volumes "key" "name") | fromJson -}}
{{- $ownVolumes := .ownVolumes -}}
{{- range $ownVolumes -}}
  {{- $_ := set $found (printf "spec.volumes[%s]" .) (dig . nil $volumes) -}}
{{- end -}}
{{- $trainer := first .original.spec.containers -}}
{{- $containers := include "phi3k.by" (dict "list" $spec.containers "key" "name") | fromJson -}}
{{- $container := dig $trainer.name dict $containers -}}
{{- range .rules.agreed_container -}}
  {{- $_ := set $found (printf "spec.containers[trainer].%s" .) (dig . nil $container) -}}
{{- end -}}
{{- $mounts := include "phi3k.by" (dict "list" $container.volumeMounts "key" "mountPath") | fromJson -}}
{{- range $trainer.volumeMounts -}}
  {{- if has .name $ownVolumes -}}
    {{- $_ := set $found (printf "spec.containers[trainer].volumeMounts[%s]" .mountPath) (dig .mountPath nil $mounts) -}}
  {{- end -}}
{{- end -}}
{{- $variables := include "phi3k.by" (dict "list" $container.env "key" "name") | fromJson -}}
{{- $prefixes := .rules.own_prefixes -}}
{{- $own := keys (include "phi3k.by" (dict "list" $trainer.env "key" "name") | fromJson) -}}
{{- range $name := concat $own (keys $variables) | uniq -}}
  {{- $isAgreed := has $name $own -}}
  {{- range $prefixes -}}
    {{- $isAgreed = or $isAgreed (hasPrefix . $name) -}}
  {{- end -}}
  {{- if $isAgreed -}}
    {{- $_ := set $found (printf "spec.containers[trainer].env[%s]" $name) (dig $name nil $variables) -}}
  {{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The entries of .list by their .key, as JSON. */}}
{{- define "phi3k.by" -}}
{{- $key := .key -}}
{{- $found := dict -}}
{{- range .list -}}
  {{- $_ := set $found (toString (get . $key)) . -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
