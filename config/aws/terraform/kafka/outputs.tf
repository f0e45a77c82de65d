output "destination_arn" {
  description = "The VPC destination of the rules."
  value       = aws_iot_topic_rule_destination.this.arn
}

output "worker_policy_arn" {
  description = "The policy to attach to the role of the workers."
  value       = var.msk_cluster_arn == null ? null : aws_iam_policy.worker[0].arn
}

output "error_queue_url" {
  description = "Events that could not be sent. Watch its ApproximateNumberOfMessagesVisible."
  value       = aws_sqs_queue.errors.url
}
