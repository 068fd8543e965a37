{{- /* The pod, which is the same whatever makes it; only where its storage is differs. */}}
{{- define "entrepot.pod" -}}
metadata:
  labels:
    {{- include "entrepot.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A new configuration is a new pod.
    checksum/configuration: {{ .Values.configuration | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "entrepot.name" . }}
  # The program asks the cluster for nothing.
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGraceSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: entrepot
      image: {{ include "entrepot.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- if or (eq .Values.mode "shared") .Values.environment }}
      env:
        {{- if eq .Values.mode "shared" }}
        # How the other replicas reach this one, at the port of [replica].
        - name: ENTREPOT_REPLICA_ADDRESS
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        {{- end }}
        {{- with .Values.environment }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- end }}
      ports:
        - name: http
          containerPort: {{ .Values.ports.http }}
        {{- if eq .Values.mode "shared" }}
        - name: internal
          containerPort: {{ .Values.ports.internal }}
        {{- end }}
        - name: metrics
          containerPort: {{ .Values.ports.metrics }}
      # Alive is not ready: a restart would bring neither the database nor the bucket back.
      startupProbe:
        httpGet:
          path: /healthz
          port: http
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /healthz
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: configuration
          mountPath: /etc/entrepot/configuration.toml
          subPath: configuration.toml
          readOnly: true
        - name: storage
          mountPath: /var/lib/entrepot
        {{- if .Values.secretFiles }}
        - name: secrets
          mountPath: /etc/entrepot/secrets
          readOnly: true
        {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.mode "shared" }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $.Values.spread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "entrepot.selector" $ | nindent 10 }}
      # Pods of the version before do not count while they are replaced.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  volumes:
    - name: configuration
      configMap:
        name: {{ include "entrepot.name" . }}
    {{- if .Values.secretFiles }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range .Values.secretFiles }}
          - secret:
              name: {{ .secret }}
              items:
                - key: {{ .key }}
                  path: {{ .file }}
          {{- end }}
    {{- end }}
    {{- if eq .Values.mode "shared" }}
    - name: storage
      {{- if .Values.local.storageClass }}
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ .Values.local.storageClass }}
            resources:
              requests:
                storage: {{ .Values.local.size }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ .Values.local.size }}
      {{- end }}
    {{- end }}
{{- end }}
