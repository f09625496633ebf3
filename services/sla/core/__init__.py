"""The rules of sla as pure functions: values in, values out. No IO and no clock of the machine."""
