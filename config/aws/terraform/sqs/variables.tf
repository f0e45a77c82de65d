variable "name" {
  description = "The name of the queue and of the rule."
  type        = string
  default     = "presenced"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,64}$", var.name))
    error_message = "Use 1 to 64 letters, digits and _."
  }
}

variable "topic_filter" {
  description = "Which events the rule sends. AWS bills each message that matches."
  type        = string
  default     = "$aws/events/#"

  validation {
    condition     = startswith(var.topic_filter, "$aws/events/")
    error_message = "Events are published below $aws/events/."
  }
}

variable "retention_days" {
  description = "How long the queue keeps events while presenced is down. It costs the same for all values."
  type        = number
  default     = 14

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 14
    error_message = "SQS keeps messages for 14 days at most."
  }
}

variable "pair" {
  description = "Whether to create a second queue, NAME_b, for the second daemon of a high-availability pair."
  type        = bool
  default     = false
}

variable "use_base64" {
  description = "Whether the rule encodes messages; presenced reads both."
  type        = bool
  default     = false
}
