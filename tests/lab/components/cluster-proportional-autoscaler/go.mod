module k8steps.invalid/lab/cluster-proportional-autoscaler

go 1.24.0
