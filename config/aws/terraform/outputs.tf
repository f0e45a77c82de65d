output "policy_name" {
  description = "The policy of the certificate."
  value       = aws_iot_policy.this.name
}

output "thing_name" {
  description = "The daemon in the registry; aws.thing_name."
  value       = aws_iot_thing.this.name
}

output "role_alias" {
  description = "The role alias of the daemon; aws.role_alias."
  value       = var.reconcile ? aws_iot_role_alias.reconcile[0].alias : null
}

output "credentials_endpoint" {
  description = "Where the role alias gives credentials; aws.credentials_endpoint."
  value       = var.reconcile ? data.aws_iot_endpoint.credentials[0].endpoint_address : null
}
