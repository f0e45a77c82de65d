"""AWS IoT Core's HTTPS operations about the emulated fleet, and the faults they can have."""
