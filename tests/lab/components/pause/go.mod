module k8steps.invalid/lab/pause

go 1.24.0
