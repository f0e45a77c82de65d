"""What happened in the last hours: transitions, mass events, the trend, and what stands out."""
