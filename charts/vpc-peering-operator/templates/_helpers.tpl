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

{{- define "operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
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
namespace: {{ default (include "operator.namespace" $root) $more.namespace }}
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
  namespace: {{ include "operator.namespace" . }}
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
# The objects that vpcRef can name.
- apiGroups: [ec2.services.k8s.aws, ec2.aws.m.upbound.io]
  resources: [vpcs]
  verbs: [get, list, watch]
- apiGroups: [infrastructure.cluster.x-k8s.io]
  resources: [awsclusters]
  verbs: [get, list, watch]
{{- range .Values.references.kinds }}
{{- if not .clusterScoped }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}]
  verbs: [get, list, watch]
{{- end }}
{{- end }}
{{- end }}

{{/* The environment variables that `run` and `check` share: the Lease, the scope, the event queue and AWS. */}}
{{- define "operator.environment" -}}
- name: LEASE_NAME
  value: {{ include "operator.fullname" . }}
{{- if .Values.leaderElection.enabled }}
- name: LEADER_ELECTION
  value: "true"
- name: LEASE_NAMESPACE
  value: {{ include "operator.namespace" . }}
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
{{- if .Values.metrics.secure.enabled }}
- name: SECURE_METRICS_ADDRESS
  value: "[::]:{{ .Values.metrics.secure.port }}"
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

{{/* The repository of the image. A global registry replaces its first part, if that is the name of a registry. */}}
{{- define "operator.repository" -}}
{{- $repository := .Values.image.repository -}}
{{- if not $repository -}}
{{- fail "image.repository is empty: set it to the repository to which you pushed the image; a released chart contains it" }}
{{- end -}}
{{- with (default dict .Values.global).imageRegistry -}}
{{- $registry := first (splitList "/" $repository) -}}
{{- if and (contains "/" $repository) (regexMatch "[.:]|^localhost$" $registry) -}}
{{- $repository = trimPrefix (print $registry "/") $repository -}}
{{- end -}}
{{- $repository = print (trimSuffix "/" .) "/" $repository -}}
{{- end -}}
{{ $repository }}
{{- end }}

{{- define "operator.image" -}}
{{ include "operator.repository" . }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The Secrets for pulling the image, also those of all charts. */}}
{{- define "operator.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- range (default dict .Values.global).imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- $users := list (printf "'system:serviceaccount:%s:%s'" (include "operator.namespace" .) (include "operator.serviceAccountName" .)) }}
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

{{/* The folder of the certificate of the metrics. */}}
{{- define "operator.certificateFolder" -}}
/etc/vpc-peering-operator/metrics
{{- end }}

{{/* The targets and the limit of a ServiceMonitor or PodMonitor: (list $ values). */}}
{{- define "operator.monitor" -}}
namespaceSelector:
  matchNames: [{{ include "operator.namespace" (index . 0) }}]
{{- with (index . 1).sampleLimit }}
sampleLimit: {{ . }}
{{- end }}
{{- end }}

{{/* The endpoint of a ServiceMonitor or PodMonitor: (list $ values). */}}
{{- define "operator.endpoint" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
port: metrics
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- if $root.Values.metrics.secure.enabled }}
scheme: https
{{- with .authorization }}
authorization:
  {{- toYaml . | nindent 2 }}
{{- else }}
bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
{{- end }}
tlsConfig:
  {{- if .tlsConfig }}
  {{- toYaml .tlsConfig | nindent 2 }}
  {{- else if $root.Values.metrics.secure.certificateSecret }}
  ca:
    secret:
      name: {{ $root.Values.metrics.secure.certificateSecret }}
      key: ca.crt
  serverName: {{ include "operator.metricsService" $root }}.{{ include "operator.namespace" $root }}.svc
  {{- else }}
  # The certificate is self-signed, and a new one at each start of the operator.
  insecureSkipVerify: true
  {{- end }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "operator.metricsService" -}}
{{ printf "%s-metrics" (include "operator.fullname" .) | trunc 63 }}
{{- end }}
