output "queue_urls" {
  description = "sqs.queue_url of each daemon, by the name of its queue."
  value       = { for name, queue in aws_sqs_queue.events : name => queue.url }
}

output "daemon_policy_arns" {
  description = "The policy to attach to the role of each daemon, by the name of its queue."
  value       = { for name, policy in aws_iam_policy.daemon : name => policy.arn }
}

output "error_queue_url" {
  description = "Events that could not be sent. Watch its ApproximateNumberOfMessagesVisible."
  value       = aws_sqs_queue.errors.url
}
