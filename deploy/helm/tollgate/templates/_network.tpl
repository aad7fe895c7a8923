{{/* Rules to what a part needs. It takes a list: the values networkPolicy, and the names of destinations in them. */}}
{{- define "tollgate.egress" -}}
{{- $policy := first . -}}
{{- range rest . }}
- ports:
    {{- if eq . "dns" }}
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
    {{- else }}
    {{- range (index $policy .).ports }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
    {{- end }}
  {{- if eq . "internet" }}
  to:
    {{- range $family, $all := dict "ipv4" "0.0.0.0/0" "ipv6" "::/0" }}
    - ipBlock: { cidr: {{ $all | quote }}, except: {{ index $policy.internet.except $family | toJson }} }
    {{- end }}
  {{- else }}
  {{- include "tollgate.peers" (dict "key" "to" "peers" (index $policy .).to) | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Peers of a rule: without any, the rule is about everywhere. It takes a dict: key (from or to), peers. */}}
{{- define "tollgate.peers" -}}
{{- if .peers }}
{{ .key }}:
  {{- toYaml .peers | nindent 2 }}
{{- end }}
{{- end -}}
