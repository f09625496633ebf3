"""Fixed, realistic instances of every type: missing files of contracts/examples are written from them."""
