variable "name" {
  description = "What the names of the rules and of the error queue begin with."
  type        = string
  default     = "presenced"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,64}$", var.name))
    error_message = "Use 1 to 64 letters, digits and _."
  }
}

variable "bootstrap_servers" {
  description = "Brokers with SASL/SCRAM over TLS as host:port (MSK: port 9096)."
  type        = list(string)
}

variable "secret_arn" {
  description = "ARN of a secret in Secrets Manager with `username` and `password` of the rules' Kafka user. For MSK its name begins with AmazonMSK_, and it is associated with the cluster."
  type        = string
}

variable "secret_key_arn" {
  description = "ARN of the KMS key of the secret. MSK demands a key of your own."
  type        = string
}

variable "vpc_id" {
  description = "The VPC in which the brokers are reached."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the network interfaces of the rules; two in different availability zones."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of these interfaces. That of the brokers must let them in."
  type        = list(string)
}

variable "events_topic" {
  description = "The kafka.topic of the workers."
  type        = string
  default     = "presenced.events"
}

variable "global_topic" {
  description = "The kafka.global_topic of the workers."
  type        = string
  default     = "presenced.global"
}

variable "topic_prefix" {
  description = "What the names of the workers' four topics begin with. Their policy in MSK permits all topics with this prefix."
  type        = string
  default     = "presenced."
}

variable "msk_cluster_arn" {
  description = "ARN of an MSK cluster to which the workers connect with IAM; null for other clusters."
  type        = string
  default     = null
}

variable "group" {
  description = "The kafka.group of the workers, with which their transactional IDs begin."
  type        = string
  default     = "presenced"
}
