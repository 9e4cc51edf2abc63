{{- define "agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "agent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "agent.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "agent.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "agent.selectorLabels" . }}
{{- end }}

{{/* Metadata of an object: call it with the root, a suffix of the name, and annotations. */}}
{{- define "agent.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "agent.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "agent.labels" $root | nindent 2 }}
{{- with index . 2 }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The environment that follows from the values, in the order of deploy/CONFIGURATION.md. */}}
{{- define "agent.env" -}}
- {name: TELEPORT_ADDR, value: {{ .Values.teleport.address | quote }}}
- {name: TELEPORT_IDENTITY_FILE, value: /run/identity/identity}
- {name: TELEPORT_DECISION_MODE, value: {{ .Values.teleport.decisionMode | quote }}}
- {name: JIRA_URL, value: {{ .Values.jira.url | quote }}}
{{- with .Values.jira.username }}
- {name: JIRA_USERNAME, value: {{ . | quote }}}
{{- end }}
- {name: JIRA_API_TOKEN_FILE, value: /run/secrets/agent/jira-api-token}
{{- if or .Values.jira.caFromConfigMap .Values.jira.caFromSecret }}
- {name: JIRA_CA_FILE, value: /run/ca/ca.pem}
{{- end }}
- {name: JIRA_PROJECT, value: {{ .Values.jira.project | quote }}}
- {name: JIRA_ISSUE_TYPE, value: {{ .Values.jira.issueType | quote }}}
- {name: DATABASE_URL_FILE, value: /run/secrets/agent/database-url}
{{- with .Values.policy.approvers }}
- {name: POLICY_APPROVERS, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.policy.approverGroups }}
- {name: POLICY_APPROVER_GROUPS, value: {{ join "," . | quote }}}
{{- end }}
- {name: POLICY_SELF_APPROVAL, value: {{ .Values.policy.selfApproval | quote }}}
- {name: ADMIN_LISTEN_ADDR, value: ":8080"}
{{- if .Values.webhook.enabled }}
- {name: WEBHOOK_ENABLED, value: "true"}
- {name: WEBHOOK_LISTEN_ADDR, value: ":8081"}
{{- with .Values.http.publicAddress }}
- {name: WEBHOOK_PUBLIC_ADDR, value: {{ . | quote }}}
{{- end }}
- {name: WEBHOOK_TLS_CERT_FILE, value: /run/tls/tls.crt}
- {name: WEBHOOK_TLS_KEY_FILE, value: /run/tls/tls.key}
- {name: WEBHOOK_SECRET_FILE, value: /run/secrets/agent/webhook-secret}
{{- end }}
- {name: LOG_OUTPUT, value: {{ .Values.log.output | quote }}}
- {name: LOG_SEVERITY, value: {{ .Values.log.severity | lower | quote }}}
{{- end }}

{{/* A secret as a source of a projected volume: the one named, or the chart's own. Call it with the root, the name, the key there, and the file. */}}
{{- define "agent.secretSource" -}}
{{- $own := printf "%s-secrets" (include "agent.fullname" (index . 0)) -}}
- secret:
    name: {{ default $own (index . 1) }}
    items: [{key: {{ ternary (index . 2) (index . 3) (ne (index . 1) "") | quote }}, path: {{ index . 3 }}}]
{{- end }}

{{/* Values that exclude or need each other, where the schema has no words for it. */}}
{{- define "agent.check" -}}
{{- range $pair := list (list .Values.jira.apiToken .Values.jira.apiTokenFromSecret "jira.apiToken") (list .Values.database.url .Values.database.urlFromSecret "database.url") }}
{{- if and (index $pair 0) (index $pair 1) }}
{{- fail (printf "%s and %sFromSecret are both set: set the one or the other" (index $pair 2) (index $pair 2)) }}
{{- end }}
{{- if not (or (index $pair 0) (index $pair 1)) }}
{{- fail (printf "%s is not set: set %sFromSecret to the name of a secret that has it, or %s itself" (index $pair 2) (index $pair 2) (index $pair 2)) }}
{{- end }}
{{- end }}
{{- if and .Values.tbot.enabled .Values.teleport.identityFromSecret }}
{{- fail "tbot.enabled and teleport.identityFromSecret are both set: the identity comes from the one or the other" }}
{{- end }}
{{- if not (or .Values.tbot.enabled .Values.teleport.identityFromSecret) }}
{{- fail "teleport.identityFromSecret is not set: name the secret that has the identity file, or set tbot.enabled" }}
{{- end }}
{{- if and .Values.jira.caFromConfigMap .Values.jira.caFromSecret }}
{{- fail "jira.caFromConfigMap and jira.caFromSecret are both set: set the one or the other" }}
{{- end }}
{{- if and .Values.webhook.enabled .Values.webhook.secret .Values.webhook.secretFromSecret }}
{{- fail "webhook.secret and webhook.secretFromSecret are both set: set the one or the other" }}
{{- end }}
{{- if and .Values.webhook.enabled (not (or .Values.webhook.secret .Values.webhook.secretFromSecret)) }}
{{- fail "webhook.enabled is set: set webhook.secretFromSecret to the name of a secret that has Jira's webhook secret" }}
{{- end }}
{{- if and .Values.webhook.enabled (not .Values.http.tlsFromSecret) }}
{{- fail "webhook.enabled is set: set http.tlsFromSecret to the name of a secret that has the certificate and its key" }}
{{- end }}
{{- end }}
