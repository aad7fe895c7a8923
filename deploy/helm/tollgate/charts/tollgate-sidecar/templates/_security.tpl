{{/* The security context of every container of Tollgate: what the Pod Security Standard "restricted" demands, and a read-only root. */}}
{{- define "tollgate-sidecar.securityContext" -}}
# The image names its user, and the kubelet can only check a number.
runAsUser: 1000
runAsGroup: 1000
runAsNonRoot: true
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}
