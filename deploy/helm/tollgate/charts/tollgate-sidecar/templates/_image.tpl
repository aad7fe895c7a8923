{{/* The reference of an image. It takes a dict: image, and the version that counts without a tag. */}}
{{- define "tollgate-sidecar.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .version }}
{{- end -}}
{{- end -}}
