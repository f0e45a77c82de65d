data "aws_caller_identity" "current" {}

locals {
  # Two daemons on one queue would each get half of the events.
  queues = var.pair ? [var.name, "${var.name}_b"] : [var.name]

  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "iot.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })

  permissions = jsondecode(file("${path.module}/../../sqs-policy.json")).Statement[0].Action
}

# Standard queues: the action supports no FIFO queue, and presenced does not need the order.
# No redrive_policy: presenced deletes what it cannot decode. A maxReceiveCount would take away events that
# were received while the daemon was restarted, which are received again.
resource "aws_sqs_queue" "events" {
  for_each                  = toset(local.queues)
  name                      = each.key
  message_retention_seconds = var.retention_days * 86400
  # For other receivers: presenced asks for 30 s, and extends that while it holds a message.
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  # With a key of your own (kms_master_key_id) the rule's role also needs kms:GenerateDataKey and
  # kms:Decrypt, and the daemon's kms:Decrypt. Without them the rule drops events into the error queue.
  sqs_managed_sse_enabled = true
}

# What the rule could not send after its attempts. A message here is an event that presenced never gets;
# `failures` in it has the reason, `base64OriginalPayload` the event. It is not in the form of the queue
# above: do not move messages from here to there.
resource "aws_sqs_queue" "errors" {
  name                      = "${var.name}_errors"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "tls" {
  for_each  = merge(aws_sqs_queue.events, { errors = aws_sqs_queue.errors })
  queue_url = each.value.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = each.value.arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_iam_role" "rule" {
  name_prefix        = substr("${var.name}-rule-", 0, 38)
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "rule" {
  name = "send"
  role = aws_iam_role.rule.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = concat([for queue in aws_sqs_queue.events : queue.arn], [aws_sqs_queue.errors.arn])
    }]
  })
}

# The rules engine may send an event twice and in any order, which presenced expects.
resource "aws_iot_topic_rule" "this" {
  name        = var.name
  description = "Events of AWS IoT Core for presenced."
  enabled     = true
  sql_version = "2016-03-23"
  # The payload with its topic beside it, because only the topic says what a registry event means.
  # All events are JSON. For payloads that are not, `*` needs encode(*, 'base64') AS payload.
  sql = "SELECT *, topic() AS topic FROM '${var.topic_filter}'"

  dynamic "sqs" {
    for_each = aws_sqs_queue.events

    content {
      queue_url  = sqs.value.url
      role_arn   = aws_iam_role.rule.arn
      use_base64 = var.use_base64
    }
  }

  error_action {
    sqs {
      queue_url  = aws_sqs_queue.errors.url
      role_arn   = aws_iam_role.rule.arn
      use_base64 = false
    }
  }

  depends_on = [aws_iam_role_policy.rule]
}

# Attach it to the role of the daemon: that of its machine, container or Kubernetes service account, or that
# of aws.role_alias.
resource "aws_iam_policy" "daemon" {
  for_each    = aws_sqs_queue.events
  name_prefix = "${each.key}-daemon-"
  description = "What presenced does with its queue."
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = local.permissions, Resource = each.value.arn }]
  })
}
