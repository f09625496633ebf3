"""What is generated from the models: JSON Schemas, the AsyncAPI document, the catalogue. No service needs it."""
