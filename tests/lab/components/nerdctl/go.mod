module k8steps.invalid/lab/nerdctl

go 1.24.0
