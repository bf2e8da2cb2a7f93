module vpc-peering-operator/tests/control-plane/reference-crds

go 1.26.0

require (
	github.com/aws-controllers-k8s/ec2-controller v1.0.0
	github.com/upbound/provider-aws v1.23.0
	sigs.k8s.io/cluster-api-provider-aws/v2 v2.13.0
)
