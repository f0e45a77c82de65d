"""Events from an Amazon SQS queue."""
