variable "certificate_arn" {
  description = "ARN of the certificate, made beforehand so that its key is not kept in the state."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iot:[a-z0-9-]+:[0-9]{12}:cert/[0-9a-f]{64}$", var.certificate_arn))
    error_message = "The value must be the ARN of a certificate of AWS IoT Core."
  }
}

variable "client_id" {
  description = "The daemon's mqtt.client_id; policy and thing get this name."
  type        = string
  default     = "presenced"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,120}$", var.client_id))
    error_message = "Use 1 to 120 letters, digits, _ and -."
  }
}

variable "enable_events" {
  description = "Whether to manage the account's event types: only one configuration can."
  type        = bool
  default     = true
}

variable "other_event_types" {
  description = "Event types that presenced does not need and that are to be enabled all the same."
  type        = set(string)
  default     = []
}
