"""Fixed, realistic instances of every type, to write missing files of contracts/examples from. No service needs them."""
