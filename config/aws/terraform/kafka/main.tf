data "aws_caller_identity" "current" {}

locals {
  # A rule has one topic filter and one key, so each kind of event has a rule. The key decides about the
  # partition, and all events of a client must be in one. Use no other functions for it:
  #   - clientid() is the publisher's ID, and AWS publishes these events: it never names the device.
  #   - topic(5) of a lifecycle event is only the first part of a client ID that has "/" in it.
  #   - A name of the SELECT clause (AS ...) cannot be used in a template.
  # Kinds without a key go to the topic with one partition.
  rules = jsondecode(file("${path.module}/../../kafka-rules.json"))

  secret = {
    for field in ["username", "password"] : field =>
    "$${get_secret('${var.secret_arn}', 'SecretString', '${field}', '${aws_iam_role.rules.arn}')}"
  }

  # The workers' permissions in MSK: those of the directory above for this cluster, its topics and group.
  msk_policy = var.msk_cluster_arn == null ? null : replace(
    replace(
      replace(
        replace(
          file("${path.module}/../../msk-policy.json"),
          "arn:aws:kafka:REGION:ACCOUNT",
          join(":", slice(split(":", var.msk_cluster_arn), 0, 5)),
        ),
        "CLUSTER/presenced.*",
        "CLUSTER/${var.topic_prefix}*",
      ),
      "CLUSTER",
      trimprefix(element(split(":", var.msk_cluster_arn), 5), "cluster/"),
    ),
    "/(group|transactional-id)/([^\"]*)/presenced/",
    "$1/$2/${var.group}",
  )
}

# AWS IoT Core reaches the brokers by network interfaces in your VPC. AWS disables a destination that was
# without traffic for 7 days; the rules then fail, and PresencedNoEvents fires. Set enabled again.
resource "aws_iot_topic_rule_destination" "this" {
  enabled = true

  vpc_configuration {
    vpc_id          = var.vpc_id
    subnet_ids      = var.subnet_ids
    security_groups = var.security_group_ids
    role_arn        = aws_iam_role.rules.arn
  }

  depends_on = [aws_iam_role_policy.rules]
}

# What a rule could not send after its attempts: events that presenced never gets. `failures` in a message
# has the reason.
resource "aws_sqs_queue" "errors" {
  name                      = "${var.name}_errors"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_iam_role" "rules" {
  name_prefix = substr("${var.name}-rules-", 0, 38)
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "iot.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "rules" {
  name = "presenced"
  role = aws_iam_role.rules.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # For the VPC destination: the list of "Apache Kafka rule action", requirements.
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterface",
          "ec2:DescribeNetworkInterfaces",
          "ec2:CreateNetworkInterfacePermission",
          "ec2:DeleteNetworkInterface",
          "ec2:DescribeSubnets",
          "ec2:DescribeVpcs",
          "ec2:DescribeVpcAttribute",
          "ec2:DescribeSecurityGroups",
        ]
        Resource = "*"
      },
      {
        # For get_secret in the client properties.
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = var.secret_arn
      },
      { Effect = "Allow", Action = "kms:Decrypt", Resource = var.secret_key_arn },
      # For the error action.
      { Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.errors.arn },
    ]
  })
}

resource "aws_iot_topic_rule" "this" {
  for_each    = local.rules
  name        = "${var.name}_${each.key}"
  description = "Events of AWS IoT Core for presenced."
  enabled     = true
  sql_version = "2016-03-23"
  sql         = "SELECT * FROM '${each.value.filter}'"

  kafka {
    destination_arn = aws_iot_topic_rule_destination.this.arn
    topic           = can(each.value.key) ? var.events_topic : var.global_topic
    key             = try(each.value.key, null)

    # The payload alone does not say which event it is.
    header {
      key   = "topic"
      value = "$${topic()}"
    }

    client_properties = {
      # The default is 1: a broker that is lost takes acknowledged events with it.
      "acks"              = "all"
      "bootstrap.servers" = join(",", var.bootstrap_servers)
      # The action knows SSL and SASL_SSL, and no IAM: MSK Serverless cannot be used. For a certificate
      # instead of a password: security.protocol SSL with ssl.keystore and ssl.keystore.password by
      # get_secret. Brokers with a private CA need ssl.truststore.
      "security.protocol"   = "SASL_SSL"
      "sasl.mechanism"      = "SCRAM-SHA-512"
      "sasl.scram.username" = local.secret["username"]
      "sasl.scram.password" = local.secret["password"]
    }
  }

  error_action {
    sqs {
      queue_url  = aws_sqs_queue.errors.url
      role_arn   = aws_iam_role.rules.arn
      use_base64 = false
    }
  }
}

# Attach it to the role of the workers. The rules do not need it: they use SCRAM.
resource "aws_iam_policy" "worker" {
  count       = var.msk_cluster_arn == null ? 0 : 1
  name_prefix = "${var.name}-worker-"
  description = "What the workers of presenced do in Amazon MSK."
  policy      = local.msk_policy
}
