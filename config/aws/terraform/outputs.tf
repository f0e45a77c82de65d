output "policy_name" {
  description = "The policy of the certificate."
  value       = aws_iot_policy.this.name
}

output "thing_name" {
  description = "The daemon in the registry."
  value       = aws_iot_thing.this.name
}
