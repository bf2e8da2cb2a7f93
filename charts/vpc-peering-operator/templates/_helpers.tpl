{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of an object: (list $ name), and further labels or annotations as dictionaries. */}}
{{- define "operator.metadata" -}}
{{- $root := index . 0 -}}
{{- $more := index . 2 -}}
name: {{ index . 1 }}
{{- if not $more.clusterScoped }}
namespace: {{ default $root.Release.Namespace $more.namespace }}
{{- end }}
labels:
  {{- toYaml (merge (dict) (default dict $more.labels) (include "operator.labels" $root | fromYaml)) | nindent 2 }}
{{- with merge (dict) (default dict $more.annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* The permissions of the operator in the namespaces that it reconciles. */}}
{{- define "operator.rules" -}}
# `patch` adds and removes the finalizer.
- apiGroups: [vpcpeering.dev]
  resources: [vpcpeerings, vpcpeeringaccepters]
  verbs: [list, watch, patch]
- apiGroups: [vpcpeering.dev]
  resources: [vpcpeerings/status, vpcpeeringaccepters/status]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The environment variables that `run` and `check` share: the Lease, the scope, the event queue and AWS. */}}
{{- define "operator.environment" -}}
- name: LEASE_NAME
  value: {{ include "operator.fullname" . }}
{{- if .Values.leaderElection.enabled }}
- name: LEADER_ELECTION
  value: "true"
- name: LEASE_NAMESPACE
  value: {{ .Release.Namespace }}
{{- end }}
{{- with .Values.operator.eventQueueUrl }}
- name: EVENT_QUEUE_URL
  value: {{ . }}
{{- end }}
{{- with .Values.watchNamespaces }}
- name: WATCH_NAMESPACE
  value: {{ join "," . }}
{{- end }}
{{- with .Values.clusterId }}
- name: CLUSTER_ID
  value: {{ . | quote }}
{{- end }}
{{- with .Values.operator.awsRegion }}
- name: AWS_REGION
  value: {{ . }}
{{- end }}
{{- if .Values.operator.disableSessionTags }}
- name: DISABLE_SESSION_TAGS
  value: "true"
{{- end }}
{{- if .Values.operator.securityGroupWarnings }}
- name: SECURITY_GROUP_WARNINGS
  value: "true"
{{- end }}
{{- if not .Values.operator.allowNodeRole }}
# Otherwise the SDK falls back to the role of the node if the operator's own role is missing or mistyped.
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- end }}
{{- end }}

{{- define "operator.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The requests that an admission policy matches: (list $ resources operations). Another release may reconcile other namespaces. */}}
{{- define "operator.admission" -}}
{{- with (index . 0).Values.watchNamespaces }}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values:
        {{- toYaml . | nindent 8 }}
{{- end }}
resourceRules:
  - apiGroups: [vpcpeering.dev]
    apiVersions: ["*"]
    resources: [{{ index . 1 }}]
    operations: [{{ index . 2 }}]
{{- end }}

{{/* Set if the policies that name the operator are to be installed. With a selector, other releases write the same
     resources, and a policy that does not name them would stop them. */}}
{{- define "operator.namedInAdmission" -}}
{{- if or (not .Values.watchSelector) .Values.admission.operators }}yes{{ end }}
{{- end }}

{{/* The user names of the operators, as a list in CEL. */}}
{{- define "operator.admissionUsers" -}}
{{- $users := list (printf "'system:serviceaccount:%s:%s'" .Release.Namespace (include "operator.serviceAccountName" .)) }}
{{- range .Values.admission.operators }}
{{- $users = append $users (printf "'system:serviceaccount:%s'" (replace "/" ":" .)) }}
{{- end }}
{{- printf "[%s]" ($users | uniq | join ", ") }}
{{- end }}

{{- define "operator.admissionBinding" }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "operator.metadata" (list (index . 0) (index . 1) (dict "clusterScoped" true)) | nindent 2 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}

{{- define "operator.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
