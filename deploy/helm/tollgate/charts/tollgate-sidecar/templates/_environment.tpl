{{/* The variables of NATS. It takes a dict: nats, and variables, which are in the Secret. */}}
{{- define "tollgate-sidecar.natsEnv" -}}
{{- if not (has "NATS_URL" .variables) }}
- { name: NATS_URL, value: {{ .nats.url | quote }} }
{{- end }}
- { name: NATS_BUCKET, value: {{ .nats.bucket | quote }} }
{{- with .nats.apiPrefix }}
- { name: NATS_API_PREFIX, value: {{ . | quote }} }
{{- end }}
{{- if .nats.credentials.secretName }}
- { name: NATS_CREDS, value: /etc/tollgate/nats/credentials }
{{- end }}
{{- if .nats.ca.secretName }}
- { name: NATS_CA_FILE, value: /etc/tollgate/nats/ca.pem }
{{- end }}
{{- if .nats.clientCertificate.secretName }}
- { name: NATS_CERT_FILE, value: /etc/tollgate/nats/tls.crt }
- { name: NATS_KEY_FILE, value: /etc/tollgate/nats/tls.key }
{{- end }}
{{- end -}}

{{/* The same files, as sources of a projected volume. It takes nats. */}}
{{- define "tollgate-sidecar.natsFiles" -}}
{{- if .credentials.secretName }}
- secret: { name: {{ .credentials.secretName }}, items: [{ key: {{ .credentials.key }}, path: nats/credentials }] }
{{- end }}
{{- if .ca.secretName }}
- secret: { name: {{ .ca.secretName }}, items: [{ key: {{ .ca.key }}, path: nats/ca.pem }] }
{{- end }}
{{- if .clientCertificate.secretName }}
- secret: { name: {{ .clientCertificate.secretName }}, items: [{ key: tls.crt, path: nats/tls.crt }, { key: tls.key, path: nats/tls.key }] }
{{- end }}
{{- end -}}

{{/* What is wrong with the values of NATS, one problem per line. It takes a dict: nats, variables, and at, where the values stand. */}}
{{- define "tollgate-sidecar.natsProblems" -}}
{{- $isInSecret := has "NATS_URL" .variables -}}
{{- if and (not .nats.url) (not $isInSecret) }}
{{ .at }}nats.url: name the NATS servers, for example tls://nats-1.nats:4222,tls://nats-2.nats:4222; or put NATS_URL into the Secret and into {{ .at }}secret.variables
{{- end }}
{{- if and .nats.url $isInSecret }}
{{ .at }}nats.url: NATS_URL is also in {{ .at }}secret.variables; use only one of them
{{- end }}
{{- if contains "@" .nats.url }}
{{ .at }}nats.url: it contains a user; put NATS_URL into the Secret and into {{ .at }}secret.variables, where nobody reads the password
{{- end }}
{{- end -}}

{{/* Variables that are files of a Secret. It takes the variables. */}}
{{- define "tollgate-sidecar.secretEnv" -}}
{{- range . }}
- { name: {{ . }}_FILE, value: /etc/tollgate/{{ . }} }
{{- end }}
{{- end -}}

{{/* The same files, as a source of a projected volume. It takes a dict: name, variables. */}}
{{- define "tollgate-sidecar.secretFiles" -}}
{{- if .variables }}
- secret:
    name: {{ .name }}
    items:
      {{- range .variables }}
      - { key: {{ . }}, path: {{ . }} }
      {{- end }}
{{- end }}
{{- end -}}

{{/* Variables that the operator sets, in the order of their names. It takes a dict: config, extraEnv. */}}
{{- define "tollgate-sidecar.configEnv" -}}
{{- range $name, $value := .config }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
