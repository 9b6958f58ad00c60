"""Which clips make a batch, and how their frames come from the store to the device."""
