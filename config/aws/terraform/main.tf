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

  # Policies of the directory above for this account and client ID.
  documents = {
    for name in ["policy", "role-policy", "role-alias-policy"] : name => replace(
      replace(
        replace(file("${path.module}/../${name}.json"), "arn:aws:iot:REGION:ACCOUNT:", local.arn),
        "client/presenced",
        "client/${var.client_id}",
      ),
      "rolealias/presenced",
      "rolealias/${var.client_id}",
    )
  }

  enabled = keys(jsondecode(file("${path.module}/../event-configurations.json")))
}

resource "aws_iot_policy" "this" {
  name   = var.client_id
  policy = local.documents["policy"]
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

data "aws_iot_endpoint" "credentials" {
  count         = var.reconcile ? 1 : 0
  endpoint_type = "iot:CredentialProvider"
}

# The certificate gets the credentials of this role by the role alias.
resource "aws_iam_role" "reconcile" {
  count              = var.reconcile ? 1 : 0
  name_prefix        = substr("${var.client_id}-", 0, 38)
  assume_role_policy = file("${path.module}/../role-trust.json")
}

resource "aws_iam_role_policy" "reconcile" {
  count  = var.reconcile ? 1 : 0
  name   = "presenced"
  role   = aws_iam_role.reconcile[0].id
  policy = local.documents["role-policy"]
}

resource "aws_iot_role_alias" "reconcile" {
  count    = var.reconcile ? 1 : 0
  alias    = var.client_id
  role_arn = aws_iam_role.reconcile[0].arn
}

resource "aws_iot_policy" "reconcile" {
  count  = var.reconcile ? 1 : 0
  name   = "${var.client_id}-reconcile"
  policy = local.documents["role-alias-policy"]
}

resource "aws_iot_policy_attachment" "reconcile" {
  count  = var.reconcile ? 1 : 0
  policy = aws_iot_policy.reconcile[0].name
  target = var.certificate_arn
}
