data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  arn = join(":", [
    "arn",
    data.aws_partition.current.partition,
    "iot",
    data.aws_region.current.id,
    data.aws_caller_identity.current.account_id,
    "",
  ])

  template = file("${path.module}/../policy.json")
  of_here  = replace(local.template, "arn:aws:iot:REGION:ACCOUNT:", local.arn)
  policy   = replace(local.of_here, "client/presenced", "client/${var.client_id}")

  enabled = keys(jsondecode(file("${path.module}/../event-configurations.json")))
}

resource "aws_iot_policy" "this" {
  name   = var.client_id
  policy = local.policy
}

resource "aws_iot_thing" "this" {
  name = var.client_id
}

resource "aws_iot_policy_attachment" "this" {
  policy = aws_iot_policy.this.name
  target = var.certificate_arn
}

resource "aws_iot_thing_principal_attachment" "this" {
  thing     = aws_iot_thing.this.name
  principal = var.certificate_arn
}

# The provider reads all event types of the account. All must be listed, or every plan would show a
# change. Destroying this resource keeps them.
resource "aws_iot_event_configurations" "this" {
  count = var.enable_events ? 1 : 0

  event_configurations = merge(
    { POLICY = false, CA_CERTIFICATE = false },
    { for type in local.enabled : type => true },
    { for type in var.other_event_types : type => true },
  )
}
