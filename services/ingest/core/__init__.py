"""What ingest decides about tickets, threads and contacts: values in, values out. No IO, no clock, no framework."""
