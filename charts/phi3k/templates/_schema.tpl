{{/*
Fails unless .value fits .schema, a JSON schema without references; .at names the value in the message.
Helm checks values by values.schema.json, but not what stands in the recipe's text.
*/}}
{{- define "phi3k.check" -}}
{{- /* true: anything fits, as in a part that Kubernetes checks itself. */ -}}
{{- if kindIs "map" .schema -}}
{{- include "phi3k.check-typed" . -}}
{{- end -}}
{{- end -}}

{{- define "phi3k.check-typed" -}}
{{- $at := .at -}}
{{- $value := .value -}}
{{- $schema := .schema -}}
{{- $kinds := dict "invalid" "null" "string" "string" "bool" "boolean" "slice" "array" "map" "object" -}}
{{- $type := get $kinds (kindOf $value) | default "number" -}}
{{- if and (eq $type "number") (eq (float64 $value) (floor $value)) -}}
  {{- $type = "integer" -}}
{{- end -}}
{{- $allowed := kindIs "slice" $schema.type | ternary $schema.type (list $schema.type) -}}
{{- if not (has $type $allowed) -}}
  {{- fail (printf "%s is %s: it should be of type %s" $at (toJson $value | trunc 200) (join " or " $allowed)) -}}
{{- end -}}
{{- if and $schema.enum (not (has $value $schema.enum)) -}}
  {{- fail (printf "%s is %s: it should be one of %s" $at (toJson $value | trunc 200) (toJson $schema.enum)) -}}
{{- end -}}
{{- if eq $type "string" -}}
  {{- if regexMatch "[\\x{7f}-\\x{9f}\\x{feff}\\x{fffe}\\x{ffff}]" $value -}}
    {{- fail (printf "%s holds a control character, which YAML can't: %s" $at (quote $value | trunc 200)) -}}
  {{- end -}}
  {{- if not (regexMatch ($schema.pattern | default "") $value) -}}
    {{- fail (printf "%s is %s: it should match %s" $at (toJson $value | trunc 200) $schema.pattern) -}}
  {{- end -}}
  {{- if lt (float64 (len $value)) (float64 ($schema.minLength | default 0)) -}}
    {{- fail (printf "%s is empty" $at) -}}
  {{- end -}}
{{- else if eq $type "integer" -}}
  {{- if and (hasKey $schema "minimum") (lt (float64 $value) (float64 $schema.minimum)) -}}
    {{- fail (printf "%s is %s: it should be at least %s" $at (toJson $value) (toJson $schema.minimum)) -}}
  {{- end -}}
  {{- if and (hasKey $schema "maximum") (gt (float64 $value) (float64 $schema.maximum)) -}}
    {{- fail (printf "%s is %s: it should be at most %s" $at (toJson $value) (toJson $schema.maximum)) -}}
  {{- end -}}
{{- else if eq $type "array" -}}
  {{- if lt (float64 (len $value)) (float64 ($schema.minItems | default 0)) -}}
    {{- fail (printf "%s is empty" $at) -}}
  {{- end -}}
  {{- range $index, $item := $value -}}
    {{- include "phi3k.check" (dict "at" (printf "%s[%d]" $at $index) "value" $item "schema" $schema.items) -}}
  {{- end -}}
{{- else if eq $type "object" -}}
  {{- range $schema.required -}}
    {{- if not (hasKey $value .) -}}
      {{- fail (printf "%s.%s is required" $at .) -}}
    {{- end -}}
  {{- end -}}
  {{- range $name, $item := $value -}}
    {{- $field := get ($schema.properties | default dict) $name | default $schema.additionalProperties -}}
    {{- if not $field -}}
      {{- fail (printf "%s has no field %s; it has: %s" $at (toJson $name) (keys $schema.properties | sortAlpha | join ", ")) -}}
    {{- end -}}
    {{- include "phi3k.check" (dict "at" (printf "%s.%s" $at $name) "value" $item "schema" $field) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
Puts the entries of .from into the mapping .into, mapping by mapping; with .skipNull a null leaves what is there.
sprig's mergeOverwrite would lose false, 0 and "".
*/}}
{{- define "phi3k.overlay" -}}
{{- $into := .into -}}
{{- $skipNull := .skipNull -}}
{{- range $name, $value := .from -}}
  {{- if and (kindIs "map" $value) (kindIs "map" (get $into $name)) -}}
    {{- include "phi3k.overlay" (dict "into" (get $into $name) "from" $value "skipNull" $skipNull) -}}
  {{- else if not (and $skipNull (kindIs "invalid" $value)) -}}
    {{- $_ := set $into $name $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}
