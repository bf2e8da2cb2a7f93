# The role of the operator for the VPCs of one account, and its EKS Pod Identity association. The cluster needs the
# add-on eks-pod-identity-agent.
#
#   module "vpc_peering_operator" {
#     source       = "github.com/OWNER/vpc-peering-operator//deploy/iam/one-account?ref=vVERSION"
#     cluster_name = "my-cluster"
#     cluster_id   = "11111111-2222-3333-4444-555555555555"
#   }

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.29"
    }
  }
}

variable "cluster_name" {
  type        = string
  description = "The name of the EKS cluster"
}

variable "cluster_id" {
  type        = string
  description = "The UID of the namespace kube-system, or the value of --cluster-id"
}

variable "other_account" {
  type        = string
  description = "Another account that may be at the other end of a peering"
  default     = ""
}

variable "namespace" {
  type        = string
  description = "The namespace of the operator"
  default     = "vpc-peering-system"
}

variable "service_account" {
  type        = string
  description = "The service account of the operator"
  default     = "vpc-peering-operator"
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  # The replacements of deploy/iam/README.md. Without another account, its ARNs are removed.
  source    = file("${path.module}/../own-credentials.json")
  one       = replace(local.source, "/,\\s*\"arn:aws:ec2:[*]:222222222222:vpc/[*]\"/", "")
  accounts  = var.other_account == "" ? local.one : replace(local.source, "222222222222", var.other_account)
  owned     = replace(local.accounts, "111111111111", data.aws_caller_identity.current.account_id)
  cluster   = replace(local.owned, "11111111-2222-3333-4444-555555555555", var.cluster_id)
  partition = replace(local.cluster, "arn:aws:", "arn:${data.aws_partition.current.partition}:")
}

resource "aws_iam_role" "operator" {
  name_prefix = "vpc-peering-operator-"
  description = "Manages VPC peering connections between VPCs with the tag vpc-peering=allowed"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy" "operator" {
  name   = "vpc-peering-operator"
  role   = aws_iam_role.operator.id
  policy = local.partition
}

resource "aws_eks_pod_identity_association" "operator" {
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.operator.arn
}

output "role_arn" {
  value = aws_iam_role.operator.arn
}
