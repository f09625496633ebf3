"""The rules of sla as pure functions: values in, values out. No IO, no system clock."""
