{{/* Stops with every value that is missing or does not fit the others, by name. What one value may be is in values.schema.json. */}}
{{- define "tollgate.check" -}}
{{- $problems := include "tollgate.problems" . -}}
{{- if .Values.daemonSet.enabled -}}
{{- if eq .Values.sidecar.host "127.0.0.1" -}}
{{- $problems = print $problems "\nsidecar.host: other pods call the DaemonSet's sidecars, which they cannot at 127.0.0.1; leave it at 0.0.0.0\n" -}}
{{- end -}}
{{- $sidecar := dict "Values" (include "tollgate.sidecarValues" . | fromYaml) "at" "sidecar." -}}
{{- $problems = print $problems (include "tollgate-sidecar.problems" $sidecar) -}}
{{- end -}}
{{- include "tollgate-sidecar.stopIf" $problems -}}
{{- end -}}

{{- define "tollgate.problems" -}}
{{- with .Values }}
{{- if not .image.repository }}
image.repository: name your registry's copy of the image that Tollgate's Dockerfile builds
{{- end }}
{{- if not .publicUrl }}
publicUrl: say where browsers and payment providers reach Tollgate, for example https://billing.example.com
{{- end }}
{{- if not .secret.name }}
secret.name: name the Secret that has {{ .secret.variables | join ", " }}; docs/kubernetes.md creates it
{{- end }}
{{- if not (has "MONGODB_URL" .secret.variables) }}
secret.variables: it must have MONGODB_URL; SQLite cannot be shared by several pods
{{- end }}
{{- if not (has "PLATFORM_API_KEY" .secret.variables) }}
secret.variables: it must have PLATFORM_API_KEY; otherwise the first start prints a new one into its log
{{- end }}
{{- if and (not (has "CREDENTIALS_KEY" .secret.variables)) (ne (.controlPlane.config.ALLOW_PLAIN_SECRETS | default "false") "true") }}
secret.variables: it must have CREDENTIALS_KEY, or secrets of payment providers are stored unencrypted; controlPlane.config.ALLOW_PLAIN_SECRETS "true" allows it
{{- end }}
{{- include "tollgate-sidecar.natsProblems" (dict "nats" .nats "variables" .secret.variables "at" "") }}
{{- if and .ingress.enabled (not .ingress.host) }}
ingress.host: say under which name the ingress serves Tollgate
{{- end }}
{{- if and .ingress.enabled (hasKey .controlPlane.config "TRUSTED_PROXIES") }}
controlPlane.config.TRUSTED_PROXIES: with an ingress, set ingress.trustedProxies instead
{{- end }}
{{- end }}
{{- end -}}
