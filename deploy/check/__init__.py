"""`make deploy-check`: what proves deploy/ without a cluster, by the programs that a platform team uses.

`harness` runs checks and reports; `tools` gets the programs; the checks themselves are in the other modules, listed in
the table of `__main__`. A check is a function of a `Context` that raises `Failed` with the reason.
"""
