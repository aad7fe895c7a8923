{{/*
The sidecar as a native sidecar container: an item of a pod's initContainers. It runs from before the other containers start until
after they have ended. With its volumes, an application's chart needs no more:

  initContainers:
    {{- include "tollgate-sidecar.initContainer" (index .Subcharts "tollgate-sidecar") | nindent 8 }}
  volumes:
    {{- include "tollgate-sidecar.volumes" (index .Subcharts "tollgate-sidecar") | nindent 8 }}
*/}}
{{- define "tollgate-sidecar.initContainer" -}}
{{- include "tollgate-sidecar.check" . -}}
- restartPolicy: Always
  {{- include "tollgate-sidecar.container" . | nindent 2 }}
{{- end -}}

{{/* The container. Like every template here, it takes a scope with the library's Values, and Chart. */}}
{{- define "tollgate-sidecar.container" -}}
{{- with .Values -}}
name: tollgate-sidecar
image: {{ include "tollgate-sidecar.image" (dict "image" .image "version" $.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .image.pullPolicy }}
command: [node, --max-semi-space-size=8, sidecar/main.ts]
securityContext:
  {{- include "tollgate-sidecar.securityContext" . | nindent 2 }}
env:
  - { name: NODE_ENV, value: production }
  - { name: HOST, value: {{ .host | quote }} }
  - { name: GRPC_PORT, value: {{ .grpcPort | quote }} }
  - { name: SIDECAR_HTTP_PORT, value: {{ .httpPort | quote }} }
  # A restart of the container finds both again. The journal's name is the snapshot's, with .journal.
  - { name: SNAPSHOT_FILE, value: /data/snapshot }
  {{- include "tollgate-sidecar.natsEnv" (dict "nats" .nats "variables" .secret.variables) | nindent 2 }}
  {{- include "tollgate-sidecar.secretEnv" .secret.variables | nindent 2 }}
  {{- if .tls.secretName }}
  - { name: TLS_CERT_FILE, value: /etc/tollgate/tls/tls.crt }
  - { name: TLS_KEY_FILE, value: /etc/tollgate/tls/tls.key }
  {{- if .tls.clientCertificates }}
  - { name: TLS_CLIENT_CA_FILE, value: /etc/tollgate/tls/ca.crt }
  {{- end }}
  {{- end }}
  {{- include "tollgate-sidecar.configEnv" (dict "config" .config "extraEnv" .extraEnv) | nindent 2 }}
{{- if ne .host "127.0.0.1" }}
ports:
  - { name: grpc, containerPort: {{ .grpcPort }} }
  - { name: sidecar-http, containerPort: {{ .httpPort }} }
readinessProbe:
  {{- include "tollgate-sidecar.probe" (dict "values" . "path" "/readyz") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
lifecycle:
  # Callers are sent elsewhere first; then SIGTERM, and a drain of ten seconds at most.
  preStop: { sleep: { seconds: 5 } }
{{- end }}
startupProbe:
  {{- include "tollgate-sidecar.probe" (dict "values" . "path" (ternary "/readyz" "/healthz" .waitForFeed)) | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: {{ div .startSeconds 2 }}
livenessProbe:
  {{- include "tollgate-sidecar.probe" (dict "values" . "path" "/healthz") | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - { name: tollgate-sidecar-data, mountPath: /data }
  {{- if include "tollgate-sidecar.files" . }}
  - { name: tollgate-sidecar-files, mountPath: /etc/tollgate, readOnly: true }
  {{- end }}
{{- end }}
{{- end -}}

{{/* The volumes of the container. */}}
{{- define "tollgate-sidecar.volumes" -}}
{{- with .Values -}}
- name: tollgate-sidecar-data
  emptyDir: { sizeLimit: {{ .storage.sizeLimit }} }
{{- with include "tollgate-sidecar.files" . }}
- name: tollgate-sidecar-files
  projected:
    # The sidecar alone mounts it, under a user whose group the pod may not have.
    defaultMode: 0444
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The files that the container reads. It takes the values. */}}
{{- define "tollgate-sidecar.files" -}}
{{- $tls := "" -}}
{{- if .tls.secretName -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls/tls.crt") (dict "key" "tls.key" "path" "tls/tls.key") -}}
{{- if .tls.clientCertificates -}}{{- $items = append $items (dict "key" "ca.crt" "path" "tls/ca.crt") -}}{{- end -}}
{{- $tls = list (dict "secret" (dict "name" .tls.secretName "items" $items)) | toYaml -}}
{{- end -}}
{{- list (include "tollgate-sidecar.secretFiles" .secret) (include "tollgate-sidecar.natsFiles" .nats) $tls | join "\n" | trim -}}
{{- end -}}

{{/*
The kubelet reaches a port of the pod's address, but none of its 127.0.0.1: there, the container asks itself.
It takes a dict: values, path.
*/}}
{{- define "tollgate-sidecar.probe" -}}
{{- if eq .values.host "127.0.0.1" -}}
exec:
  command:
    - node
    - -e
    - "fetch('http://127.0.0.1:{{ .values.httpPort }}{{ .path }}').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"
{{- else -}}
httpGet: { path: {{ .path }}, port: sidecar-http }
{{- end -}}
{{- end -}}

{{/* Stops with every value that is wrong, by name. */}}
{{- define "tollgate-sidecar.check" -}}
{{- include "tollgate-sidecar.problems" . | include "tollgate-sidecar.stopIf" -}}
{{- end -}}

{{/* Stops if there is a problem. It takes them, one per line. */}}
{{- define "tollgate-sidecar.stopIf" -}}
{{- $lines := list -}}
{{- range splitList "\n" . -}}{{- if . -}}{{- $lines = append $lines (print "  " .) -}}{{- end -}}{{- end -}}
{{- if $lines -}}{{- fail (printf "\n\nThese values are missing or wrong:\n%s\n" (uniq $lines | join "\n")) -}}{{- end -}}
{{- end -}}

{{/* What is wrong with the values, one problem per line. A scope may say in "at" where they stand. */}}
{{- define "tollgate-sidecar.problems" -}}
{{- $at := .at | default "tollgate-sidecar." -}}
{{- with .Values }}
{{- if not .image.repository }}
{{ $at }}image.repository: name your registry's copy of the image that Tollgate's Dockerfile builds
{{- end }}
{{- include "tollgate-sidecar.natsProblems" (dict "nats" .nats "variables" .secret.variables "at" $at) }}
{{- if and .secret.variables (not .secret.name) }}
{{ $at }}secret.name: name the Secret that has {{ .secret.variables | join ", " }}
{{- end }}
{{- if and .tls.clientCertificates (not .tls.secretName) }}
{{ $at }}tls.secretName: client certificates need TLS; name a Secret of type kubernetes.io/tls, with the callers' CA in ca.crt
{{- end }}
{{- if and (ne .host "127.0.0.1") (not (has "SIDECAR_KEYS" .secret.variables)) (ne (.config.SIDECAR_OPEN | default "false") "true") }}
{{ $at }}secret.variables: other pods reach this sidecar (host is {{ .host }}), so it needs SIDECAR_KEYS, which says who may ask about which tenants; {{ $at }}config.SIDECAR_OPEN "true" lets everybody ask
{{- end }}
{{- end }}
{{- end -}}
