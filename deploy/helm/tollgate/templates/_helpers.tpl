{{/* The name that all objects begin with; some add 14 characters, and 63 is what a label may have. */}}
{{- define "tollgate.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods of a part. It takes a list: the scope, the part. */}}
{{- define "tollgate.selector" -}}
{{- $scope := index . 0 -}}
app.kubernetes.io/name: {{ $scope.Values.nameOverride | default $scope.Chart.Name }}
app.kubernetes.io/instance: {{ $scope.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of a part. It takes a list: the scope, the part. */}}
{{- define "tollgate.labels" -}}
{{- $scope := index . 0 -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/version: {{ $scope.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $scope.Release.Service }}
helm.sh/chart: {{ $scope.Chart.Name }}-{{ $scope.Chart.Version }}
{{- end -}}

{{/* Name, namespace and labels of an object. It takes a list: the scope, the part. */}}
{{- define "tollgate.metadata" -}}
{{- $scope := index . 0 -}}
name: {{ include "tollgate.fullname" $scope }}-{{ index . 1 }}
namespace: {{ $scope.Release.Namespace }}
labels:
  {{- include "tollgate.labels" . | nindent 2 }}
{{- end -}}

{{- define "tollgate.image" -}}
{{- include "tollgate-sidecar.image" (dict "image" .Values.image "version" .Chart.AppVersion) -}}
{{- end -}}

{{/* What the spec of every pod begins with. */}}
{{- define "tollgate.pod" -}}
automountServiceAccountToken: false
# A Service named "http" would otherwise set HTTP_PORT, and so on.
enableServiceLinks: false
securityContext:
  runAsUser: 1000
  runAsGroup: 1000
  runAsNonRoot: true
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where pods may run. It takes the values of a part. */}}
{{- define "tollgate.scheduling" -}}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The variables of a control plane that are in the Secret. */}}
{{- define "tollgate.secretVariables" -}}
{{- $added := .Values.simulator.enabled | ternary (list "SIMULATOR_WEBHOOK_SECRET") list -}}
{{- concat .Values.secret.variables $added | uniq | toJson -}}
{{- end -}}

{{- define "tollgate.mongodbFiles" -}}
{{- with .Values.mongodb.ca -}}
{{- if .secretName -}}
- secret: { name: {{ .secretName }}, items: [{ key: {{ .key }}, path: mongodb/ca.pem }] }
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A volume of files that the group of the pod may read. It takes the sources. */}}
{{- define "tollgate.filesVolume" -}}
- name: files
  projected:
    defaultMode: 0440
    sources:
      {{- . | trim | nindent 6 }}
{{- end -}}

{{/* The values of the DaemonSet's sidecar: those of the library, with the control planes' image and NATS where it has none of its own. */}}
{{- define "tollgate.sidecarValues" -}}
{{- $own := deepCopy .Values.sidecar -}}
{{- if not $own.image.repository -}}{{- $_ := set $own "image" .Values.image -}}{{- end -}}
{{- if not (or $own.nats.url (has "NATS_URL" $own.secret.variables)) -}}{{- $_ := set $own.nats "url" .Values.nats.url -}}{{- end -}}
{{- if not $own.nats.ca.secretName -}}{{- $_ := set $own.nats "ca" .Values.nats.ca -}}{{- end -}}
{{- $_ := set $own.nats "bucket" .Values.nats.bucket -}}
{{- $own | toYaml -}}
{{- end -}}
