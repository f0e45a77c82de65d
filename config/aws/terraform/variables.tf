variable "certificate_arn" {
  description = "ARN of the certificate, created beforehand so that its key is not part of the state."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iot:[a-z0-9-]+:[0-9]{12}:cert/[0-9a-f]{64}$", var.certificate_arn))
    error_message = "The value must be the ARN of a certificate of AWS IoT Core."
  }
}

variable "client_id" {
  description = "The mqtt.client_id of the daemon, and the name of policy and thing."
  type        = string
  default     = "presenced"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,120}$", var.client_id))
    error_message = "Use 1 to 120 letters, digits, _ and -."
  }
}

variable "enable_events" {
  description = "Whether to manage the event types of the account; only one configuration can do so."
  type        = bool
  default     = true
}

variable "reconcile" {
  description = "Whether to create the role by which the daemon asks AWS who is connected (client_id up to 118)."
  type        = bool
  default     = false
}

variable "other_event_types" {
  description = "Further event types to enable, which presenced does not need."
  type        = set(string)
  default     = []
}
